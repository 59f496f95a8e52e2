"""`/datasets/{name}/schema/migrations`: changing a dataset's columns as a manifest says, and what was changed so before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import Field, RootModel
from starlette.concurrency import run_in_threadpool

from timestore_assets.catalog.schema_migrations import MigrationRecord
from timestore_assets.migrating.archive_place import place_of
from timestore_assets.migrating.dry_run import ColumnTrial, DryRun
from timestore_assets.migrating.manifest_file import manifest_of
from timestore_assets.migrating.migration_manifest import MigrationManifest
from timestore_assets.model.errors import DeclarationError
from timestore_assets.model.window import format_time
from timestore_assets.service import json_bodies
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import responses
from timestore_assets.service.query.schema_route import SchemaChangeAnswer
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import UsesAdmin, UsesService

router = APIRouter(tags=["admin"])

READ_ERRORS = responses(
    HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)  # fmt: skip
ERRORS = {**READ_ERRORS, **responses(HTTPStatus.CONFLICT, *json_bodies.ERRORS)}
EXAMPLE: dict[str, Any] = {
    "governance": {"ticketId": "OPS-12", "approvedBy": "ann"},
    "operations": [{"rename": {"from": "temp", "to": "temperature"}}, {"drop": {"column": "note", "archive": False}}],
    "execution": {"dryRun": True},
}


class ManifestBody(RootModel[dict[str, Any]]):
    """A migration manifest as JSON; `dataset` may be left out."""

    root: dict[str, Any] = Field(examples=[EXAMPLE])


class ValueAnswer(Wire):
    """A value before and after, as text; null: there is none."""

    before: str | None
    after: str | None


class ComputedAnswer(Wire):
    """A column that is computed for rows that are there."""

    column: str = Field(examples=["temp_c"])
    type: str = Field(examples=["double"])
    source: str | None = Field(description="The column that it takes the place of.", examples=["temp_f"])
    expression: str = Field(examples=["(((temp_f - 32) * 5) / 9)"])
    lost: int = Field(description="Values that are there and could not be computed.")
    nulls: int = Field(description="Rows without a value afterwards, these among them.")
    worst: dict[str, int] = Field(description="Lost values of the partitions that lose most.")
    samples: list[ValueAnswer]
    lost_samples: list[ValueAnswer]


class RewriteAnswer(Wire):
    """What has to be rewritten until reading computes nothing any more."""

    partitions: int
    rows: int
    bytes: int
    seconds: float = Field(description="An estimate.")
    basis: str = Field(description="What the seconds are told from.", examples=["as fast as the last 50 builds"])


class BrokenQueryAnswer(Wire):
    """A saved query that would fail."""

    name: str
    problem: str


class DryRunAnswer(Wire):
    """What a migration would do."""

    schema_version: int = Field(description="That it was tried on.")
    manifest_version: int
    changes: list[SchemaChangeAnswer]
    columns: list[dict[str, Any]] = Field(description="All columns afterwards.")
    rows: int
    rows_tried: int
    computed: list[ComputedAnswer]
    rewrite: RewriteAnswer
    broken_queries: list[BrokenQueryAnswer]
    notes: list[str] = Field(description="What a person ought to know.")
    refusals: list[str] = Field(description="Why nothing would be done; empty when it can be carried out.")
    declaration: list[str] = Field(description="Lines of YAML to write into a file that declares the dataset.")


class MigrationAnswer(Wire):
    """A migration that was carried out, or taken back."""

    schema_version: int
    manifest_version: int = Field(description="From which on its columns are in force.")
    kind: str = Field(examples=["forward"])
    ticket_id: str
    approved_by: str
    actor: str
    at: str
    changes: list[SchemaChangeAnswer]
    manifest: dict[str, Any]


class MigrationResult(Wire):
    """What came of a request."""

    dataset: str
    executed: bool = Field(description="It is in force, by this request or an earlier one.")
    dry_run: DryRunAnswer | None = Field(description="Null when the same manifest had been carried out before.")
    migration: MigrationAnswer | None = Field(description="Null after a dry run.")
    archived_files: int = Field(0, description="Archives of dropped columns that were written by this request.")
    is_archived: bool | None = Field(
        None, description="No archive is left to be written; send it again where it is false. Null after a dry run."
    )


class MigrationList(Wire):
    migrations: list[MigrationAnswer] = Field(description="The newest first.")


class MigrationOptions(Wire):
    """The query string of a migration."""

    sample: int | None = Field(None, ge=1, description="Try about so many rows of all partitions; all by default.")
    allow_broken_queries: bool = Field(False, description="Do it although saved queries fail afterwards.")


@router.get("/datasets/{name}/schema/migrations", summary="What was migrated", responses=READ_ERRORS)
def migrations(name: DatasetName, caller: UsesAdmin, service: UsesService) -> MigrationList:
    """Migrations that were carried out, and taken back, with who asked for them and approved them."""
    service.dataset(caller, name)
    return MigrationList(migrations=[migration_answer(one) for one in service.warehouse.migrations(name)])


@router.post(
    "/datasets/{name}/schema/migrations",
    summary="Try or carry out a migration",
    response_model=MigrationResult,
    responses=ERRORS,
    openapi_extra=json_bodies.described(ManifestBody, EXAMPLE),
)
async def migrate(
    name: DatasetName,
    caller: UsesAdmin,
    service: UsesService,
    options: Annotated[MigrationOptions, Query()],
    body: Annotated[ManifestBody, Depends(json_bodies.json_body(ManifestBody))],
) -> MigrationResult:
    """Nothing is done unless the manifest says `execution: {dryRun: false}`; what it would do is answered, and why it would be
    refused. Done, older rows are read as the new columns at once, and the same manifest again is answered with what the first
    did. What would lose values or break saved queries is 403, a migration that came in between 409.

    Archives of dropped columns go to `execution: {archiveTarget: NAME}`, a storage target, before it is answered; broken off, the
    same request goes on with them.
    """
    service.dataset(caller, name)
    manifest = _manifest(name, body.root)
    warehouse, sample, allow = service.warehouse, options.sample, options.allow_broken_queries
    place = place_of(manifest)

    def work() -> MigrationResult:
        known = warehouse.migrated_before(manifest) if manifest.dry_run else None
        if known is not None:
            return MigrationResult(dataset=name, executed=True, dry_run=None, migration=migration_answer(known))
        if manifest.dry_run:
            tried = warehouse.try_migration(manifest, sample=sample, allow_broken_queries=allow, archive_to=place)
            return MigrationResult(dataset=name, executed=False, dry_run=_tried(tried), migration=None)
        done = warehouse.migrate(manifest, sample=sample, allow_broken_queries=allow, archive_to=place, actor=caller.name)
        return MigrationResult(
            dataset=name,
            executed=True,
            dry_run=None if done.tried is None else _tried(done.tried),
            migration=migration_answer(done.done.record),
            archived_files=len(done.archives),
            is_archived=done.is_archived,
        )

    return await run_in_threadpool(work)


def _manifest(name: str, plain: dict[str, Any]) -> MigrationManifest:
    if plain.get("dataset", name) != name:
        raise DeclarationError(f"is not {name!r}, the name in the address; leave it out or write the same", key="dataset")
    manifest = manifest_of({**plain, "dataset": name})
    if manifest.archive_directory is not None:
        problem = "names a folder of the service's machine; write archiveTarget, the name of a storage target"
        raise DeclarationError(problem, key="execution.archiveDirectory")
    return manifest


def _tried(run: DryRun) -> DryRunAnswer:
    return DryRunAnswer(
        schema_version=run.schema_version,
        manifest_version=run.manifest_version,
        changes=[SchemaChangeAnswer.model_validate(change.plain()) for change in run.changes],
        columns=[dict(one) for one in run.columns],
        rows=run.rows,
        rows_tried=run.rows_tried,
        computed=[_computed(one) for one in run.computed],
        rewrite=RewriteAnswer(**asdict(run.cost)),
        broken_queries=[BrokenQueryAnswer(**asdict(one)) for one in run.broken_queries],
        notes=list(run.notes),
        refusals=list(run.refusals),
        declaration=list(run.lines),
    )


def _computed(one: ColumnTrial) -> ComputedAnswer:
    return ComputedAnswer(
        column=one.column,
        type=one.type,
        source=one.source,
        expression=one.expression,
        lost=one.lost,
        nulls=one.nulls,
        worst={loss.partition: loss.values for loss in one.worst},
        samples=[ValueAnswer(**asdict(sample)) for sample in one.samples],
        lost_samples=[ValueAnswer(**asdict(sample)) for sample in one.lost_samples],
    )


def migration_answer(one: MigrationRecord) -> MigrationAnswer:
    """A migration as it is answered."""
    return MigrationAnswer(
        schema_version=one.schema_version,
        manifest_version=one.manifest_version,
        kind=one.kind,
        ticket_id=one.ticket,
        approved_by=one.approved_by,
        actor=one.actor,
        at=format_time(one.at),
        changes=[change_answer(change) for change in one.changes],
        manifest=dict(one.manifest),
    )


def change_answer(change: Mapping[str, Any]) -> SchemaChangeAnswer:
    """A change of a column as it is answered."""
    return SchemaChangeAnswer(**{name: change.get(name) for name in SchemaChangeAnswer.model_fields})
