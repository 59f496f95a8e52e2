"""`/admin/datasets/{name}/retention`: how long partitions are kept, and letting them go."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field, field_validator
from starlette.concurrency import run_in_threadpool

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError
from timestore_assets.model.retention import Retention, Tier, check_retention
from timestore_assets.model.window import format_duration, parse_duration
from timestore_assets.service import json_bodies
from timestore_assets.service.access.caller import Caller
from timestore_assets.service.admin.policies import (
    CHANGE_ERRORS,
    ERRORS,
    PolicyAnswer,
    PolicyChange,
    changed_policy,
    set_here,
    shown_policy,
)
from timestore_assets.service.etags import READ, IfMatch, version_of
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import responses
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import Service, UsesAdmin, UsesService

router = APIRouter()


class WishedTier(Wire):
    """Where partitions of an age are kept."""

    after: str = Field(description="Age of a partition, from its end on, such as 90d.", examples=["90d"])
    to: str = Field(description="Name of a storage target.", max_length=63, examples=["cold"])

    @field_validator("after")
    @classmethod
    def _is_duration(cls, value: str) -> str:
        return _checked_duration(value)


class RetentionWish(Wire):
    """How long partitions are to be kept from now on."""

    max_age: str | None = Field(description="A duration such as 90d or 5y (a year has 365 days); null for ever.", examples=["5y"])
    max_bytes: int | None = Field(
        None, ge=1, description="Bytes of all segments above which the oldest partitions expire; null: without bound."
    )
    keep_versions: str | None = Field(
        None, description="How long superseded and expired segments stay for reading old versions; null: as the service is set."
    )
    tier: list[WishedTier] = Field(
        default_factory=list, max_length=20, description="Storage targets that old partitions move to."
    )

    @field_validator("max_age")
    @classmethod
    def _is_duration(cls, value: str | None) -> str | None:
        if value is not None and not parse_duration(_checked_duration(value)):
            raise ValueError("is no time at all; write null to keep partitions for ever")
        return value

    @field_validator("keep_versions")
    @classmethod
    def _is_duration_too(cls, value: str | None) -> str | None:
        return None if value is None else _checked_duration(value)

    def retention(self) -> Retention:
        """What it asks for; InputError when that can't be meant."""
        retention = Retention(
            max_age=None if self.max_age is None else parse_duration(self.max_age),
            max_bytes=self.max_bytes,
            keep_versions=None if self.keep_versions is None else parse_duration(self.keep_versions),
            tier=tuple(Tier(after=parse_duration(one.after), to=one.to) for one in self.tier),
        )
        check_retention(retention)
        return retention


def _checked_duration(text: str) -> str:
    try:
        parse_duration(text)
    except InputError as error:
        raise ValueError(str(error)) from None
    return text


class RetentionAnswer(PolicyAnswer):
    """How long partitions are kept."""

    declared: str | None = Field(description="`max_age` of the declaration; null for ever.", examples=["5y"])
    effective: str | None = Field(
        description="`max_age` that counts: what was set here, else what is declared.", examples=["90d"]
    )
    max_bytes: int | None = Field(description="That counts; null: without bound.")
    keep_versions: str | None = Field(description="That counts; null: as the service is set.", examples=["7d"])
    tier: list[WishedTier] = Field(description="That counts.")


class RetentionRun(Wire):
    """Whether to do it."""

    execute: bool = Field(False, strict=True, description="False only says what would expire and move.", examples=[True])


class GonePartition(Wire):
    """A partition that expired, or would."""

    partition: str = Field(examples=["2013-01-01"])
    reason: str
    rows: int
    bytes: int


class KeptPartition(Wire):
    """A partition that stays although its time is over."""

    partition: str
    held_by: list[str] = Field(description="Legal holds.")


class TieredPartition(Wire):
    """A partition that belongs into another storage target."""

    partition: str
    target: str
    objects: int
    bytes: int


class RetentionOutcome(Wire):
    """What was done, or with `execute: false` what would be."""

    dataset: str
    executed: bool
    expired: list[GonePartition]
    held: list[KeptPartition]
    to_move: list[TieredPartition] = Field(description="The job `timestore_retention`, or the command, brings them there.")
    over: int = Field(description="Bytes that stay above `maxBytes`, because nothing more may expire.")
    manifest_version: int


@router.get(
    "/admin/datasets/{name}/retention",
    summary="How long partitions are kept",
    response_model=RetentionAnswer,
    responses={**ERRORS, **READ},
)
def shown(request: Request, name: DatasetName, caller: UsesAdmin, service: UsesService) -> Response:
    """What is declared and what counts."""
    return shown_policy(request, service, caller, name, retention_of)


@router.put(
    "/admin/datasets/{name}/retention",
    summary="Set how long partitions are kept",
    response_model=RetentionAnswer,
    responses=CHANGE_ERRORS,
    openapi_extra=json_bodies.described(RetentionWish, {"maxAge": "5y"}),
)
async def changed(
    request: Request,
    name: DatasetName,
    caller: UsesAdmin,
    service: UsesService,
    wish: Annotated[RetentionWish, Depends(json_bodies.json_body(RetentionWish))],
    if_match: IfMatch = None,
) -> Response:
    """Stands in for all that the declaration says, and is written to the audit log with what was before.

    Nothing expires by that alone: the job `retention` in Dagster, `timestore retention` or `POST …/retention/runs` lets it.
    `If-Match` may be left out; then the change is made whatever others did.
    """
    retention = wish.retention()
    await run_in_threadpool(_require_targets, service, caller, name, retention)
    change = PolicyChange(kind="retention", value=retention.to_policy(), if_version=version_of(if_match))
    return await changed_policy(request, service, caller, name, change, retention_of)


@router.delete(
    "/admin/datasets/{name}/retention",
    summary="Let the declared retention count again",
    response_model=RetentionAnswer,
    responses=CHANGE_ERRORS,
)
async def unset(
    request: Request, name: DatasetName, caller: UsesAdmin, service: UsesService, if_match: IfMatch = None
) -> Response:
    """Takes back what was set here; audited with what that was. Done twice it changes nothing but the version."""
    change = PolicyChange(kind="retention", value=None, if_version=version_of(if_match))
    return await changed_policy(request, service, caller, name, change, retention_of)


@router.post(
    "/admin/datasets/{name}/retention/runs",
    summary="Let partitions expire",
    response_model=RetentionOutcome,
    responses={**ERRORS, **responses(HTTPStatus.CONFLICT, *json_bodies.ERRORS)},
    openapi_extra=json_bodies.described(RetentionRun, {"execute": False}),
)
async def applied(
    name: DatasetName,
    caller: UsesAdmin,
    service: UsesService,
    wish: Annotated[RetentionRun, Depends(json_bodies.json_body(RetentionRun))],
) -> RetentionOutcome:
    """Says what the retention asks for now, and with `execute: true` lets partitions expire, each in a transaction of its own.

    Moving to a tier is no matter of one request: what is to move is said, and the job in Dagster or the command does it.
    Files of expired partitions stay as long as old versions are kept. Run again, it goes on with the rest.
    """
    service.dataset(caller, name)
    warehouse = service.warehouse
    looked = await run_in_threadpool(lambda: warehouse.apply_retention(name, execute=False))
    report = looked
    if wish.execute:
        report = await run_in_threadpool(lambda: warehouse.apply_retention(name, execute=True, moves=False, actor=caller.name))
    return RetentionOutcome(
        dataset=name,
        executed=wish.execute,
        expired=[
            GonePartition(partition=one.partition, reason=one.reason, rows=one.rows, bytes=one.bytes) for one in report.expired
        ],
        held=[KeptPartition(partition=one.partition, held_by=list(one.held_by)) for one in report.held],
        to_move=[
            TieredPartition(partition=one.partition, target=one.target, objects=one.objects, bytes=one.bytes)
            for one in looked.moved
        ],
        over=report.over,
        manifest_version=report.manifest_version,
    )


def _require_targets(service: Service, caller: Caller, name: str, retention: Retention) -> None:
    """InputError when a tier is no storage target; the caller must be allowed to ask, so that the answer tells nobody else."""
    service.dataset(caller, name)
    for tier in retention.tier:
        service.warehouse.storage.target(tier.to)


def retention_of(catalog: Catalog, dataset: Dataset, record: DatasetRecord) -> RetentionAnswer:
    """The retention of a dataset, as declared and as set."""
    policy = catalog.policies.find(record.id, "retention")
    declared = dataset.retention
    counts = declared if policy is None or policy.value is None else Retention.from_policy(policy.value)
    return RetentionAnswer(
        declared=_text(declared.max_age),
        effective=_text(counts.max_age),
        max_bytes=counts.max_bytes,
        keep_versions=_text(counts.keep_versions),
        tier=[WishedTier(after=format_duration(one.after), to=one.to) for one in counts.tier],
        **set_here(policy),
    )


def _text(duration: timedelta | None) -> str | None:
    return None if duration is None else format_duration(duration)
