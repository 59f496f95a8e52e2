"""`POST /datasets/{name}/schema/restore`: taking migrations back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from timestore_assets.service import json_bodies
from timestore_assets.service.admin.migration_routes import ERRORS, MigrationAnswer, change_answer, migration_answer
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.query.schema_route import SchemaChangeAnswer
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import UsesAdmin, UsesService

router = APIRouter(tags=["admin"])


class RestoreWish(Wire):
    """Which columns are to be in force again."""

    to: int = Field(ge=1, lt=2**31, description="A schema version of before.", examples=[1])
    nulls: bool = Field(False, strict=True, description="Nullable columns may be null in rows that have landed since.")
    ticket_id: str = Field("", max_length=200, description="Ticket that asks for it.", examples=["OPS-13"])
    approved_by: str = Field("", max_length=200, description="Who has approved it.", examples=["ann"])
    dry_run: bool = Field(True, strict=True, description="Only say what it would do.")


class RestoreAnswer(Wire):
    """Columns that are those of an earlier schema version again, or would be."""

    dataset: str
    to: int = Field(description="The schema version whose columns they are.", examples=[1])
    executed: bool
    changes: list[SchemaChangeAnswer]
    refusals: list[str] = Field(description="Why nothing would be done; empty when it can be carried out.")
    migration: MigrationAnswer | None = Field(description="Null after a dry run.")


@router.post(
    "/datasets/{name}/schema/restore",
    summary="Take migrations back",
    response_model=RestoreAnswer,
    responses=ERRORS,
    openapi_extra=json_bodies.described(RestoreWish, {"to": 1, "ticketId": "OPS-13", "approvedBy": "ann"}),
)
async def restore(
    name: DatasetName,
    caller: UsesAdmin,
    service: UsesService,
    wish: Annotated[RestoreWish, Depends(json_bodies.json_body(RestoreWish))],
) -> RestoreAnswer:
    """Put the columns of an earlier schema version in force again, as a new version; rows stay. Nothing is done unless the body
    says `"dryRun": false`. Rows that have landed since are computed by the `inverse` that the migration named; where there is
    none it is 403. A version that there is not is 422.
    """
    service.dataset(caller, name)
    warehouse = service.warehouse

    def work() -> RestoreAnswer:
        if wish.dry_run:
            tried = warehouse.try_restore(name, wish.to, may_null=wish.nulls)
            return RestoreAnswer(
                dataset=name,
                to=wish.to,
                executed=False,
                changes=[change_answer(one.plain()) for one in tried.changes],
                refusals=list(tried.refusals),
                migration=None,
            )
        done = warehouse.restore_schema(
            name, wish.to, may_null=wish.nulls, ticket=wish.ticket_id, approved_by=wish.approved_by, actor=caller.name
        )
        answer = migration_answer(done)
        return RestoreAnswer(dataset=name, to=wish.to, executed=True, changes=answer.changes, refusals=[], migration=answer)

    return await run_in_threadpool(work)
