"""`/backfills`: what schema versions ask to be rewritten, how far it is, and whether it may be done."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from timestore_assets.catalog.backfill_records import OPEN, BackfillState
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import UnknownResourceError, responses
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import Service, UsesAdmin, UsesCaller, UsesService
from timestore_assets.verbs.backfill_verbs import BackfillStatus, backfill_to_plain

router = APIRouter(tags=["datasets"])
deciding = APIRouter(tags=["admin"])

LIST_ERRORS = responses(
    HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.UNPROCESSABLE_ENTITY
)
ERRORS = {**LIST_ERRORS, **responses(HTTPStatus.NOT_FOUND)}
DECIDING_ERRORS = {**ERRORS, **responses(HTTPStatus.CONFLICT)}
BackfillId = Annotated[int, Path(ge=1, le=2**63 - 1, description="As the list has it.", examples=[3])]


class BackfillCost(Wire):
    """What its partitions held when it was asked for; null where nobody has said."""

    partitions: int | None = Field(None, examples=[200])
    rows: int | None = Field(None, examples=[20_000_000])
    bytes: int | None = Field(None, examples=[400_000_000])
    seconds: float | None = Field(None, description="How long builds of them may take.", examples=[41.5])
    basis: str | None = Field(None, description="What the seconds are told from.", examples=["as fast as the last 50 builds"])


class BackfillAnswer(Wire):
    """One request."""

    id: int = Field(examples=[3])
    dataset: str = Field(examples=["nyc_weather"])
    schema_version: int = Field(description="For which it is asked for.", examples=[6])
    state: BackfillState = Field(description="asked, approved, done, or refused.")
    why: str = Field(examples=["a migration computes temp_c for older rows (OPS-12)"])
    cause: dict[str, Any] = Field(
        description="`kind` is migration, default or ignored_column; with it what that kind says.",
        examples=[{"kind": "migration", "ticket": "OPS-12", "columns": ["temp_c"]}],
    )
    done: int = Field(description="Partitions that are rewritten, or files that have landed again.", examples=[37])
    of: int = Field(examples=[200])
    summary: str = Field(examples=["37 of 200 partitions rewritten"])
    cost: BackfillCost
    commands: list[str] = Field(description="What a person types where nothing does it by itself.", examples=[[]])
    actor: str = Field(description="Who asked for it, or decided last.", examples=["token:ops"])
    created_at: str = Field(examples=["2026-01-02T03:04:05Z"])
    updated_at: str = Field(examples=["2026-01-02T03:05:06Z"])


class BackfillList(Wire):
    """The oldest first."""

    backfills: list[BackfillAnswer]


class BackfillDecision(Wire):
    """What it is now."""

    changed: bool = Field(description="False: it was like that already.")
    backfill: BackfillAnswer


class BackfillChoice(Wire):
    """The query string that chooses requests."""

    state: list[BackfillState] = Field(list(OPEN), max_length=4, description="Those in these states; may be repeated.")


@router.get("/backfills", summary="Backfills of all datasets", response_model=BackfillList, responses=LIST_ERRORS)
def of_all(choice: Annotated[BackfillChoice, Query()], caller: UsesCaller, service: UsesService) -> BackfillList:
    """Those of the datasets that you may read; asked for and approved ones where no state is given."""
    mine = service.visible(caller)
    found = service.warehouse.backfills(states=choice.state)
    return BackfillList(backfills=[_answer(one) for one in found if one.backfill.dataset in mine])


@router.get("/datasets/{name}/backfills", summary="A dataset's backfills", response_model=BackfillList, responses=ERRORS)
def of_one(
    name: DatasetName, choice: Annotated[BackfillChoice, Query()], caller: UsesCaller, service: UsesService
) -> BackfillList:
    """What its schema versions ask to be rewritten, with the cost; how far it is is told from what it holds now."""
    service.dataset(caller, name)
    return BackfillList(backfills=[_answer(one) for one in service.warehouse.backfills(name, states=choice.state)])


@deciding.post(
    "/datasets/{name}/backfills/{id}/approve",
    summary="Approve a backfill",
    response_model=BackfillDecision,
    responses=DECIDING_ERRORS,
)
def approved(name: DatasetName, id: BackfillId, caller: UsesAdmin, service: UsesService) -> BackfillDecision:
    """Dagster builds its partitions from now on, or `timestore backfills run`; also one that was refused. 409 when it is done."""
    return _decided(service, name, id, "approved", actor=caller.name)


@deciding.post(
    "/datasets/{name}/backfills/{id}/refuse",
    summary="Refuse a backfill",
    response_model=BackfillDecision,
    responses=DECIDING_ERRORS,
)
def refused(name: DatasetName, id: BackfillId, caller: UsesAdmin, service: UsesService) -> BackfillDecision:
    """It is not done, or does not go on: what is rewritten stays so, and queries compute the rest. 409 when it is done."""
    return _decided(service, name, id, "refused", actor=caller.name)


def _decided(service: Service, name: str, backfill_id: int, state: BackfillState, *, actor: str) -> BackfillDecision:
    warehouse = service.warehouse
    if name not in warehouse.datasets:
        raise UnknownResourceError(f"there is no dataset {name[:63]!r}; GET /datasets lists those that there are")
    found = warehouse.catalog.backfills.find(backfill_id)
    if found is None or found.dataset != name:
        raise UnknownResourceError(f"dataset {name!r} has no backfill {backfill_id}; GET /datasets/{name}/backfills lists them")
    changed = warehouse.decide_backfill(backfill_id, state, actor=actor)
    return BackfillDecision(changed=changed, backfill=_answer(warehouse.backfill(backfill_id)))


def _answer(status: BackfillStatus) -> BackfillAnswer:
    plain = backfill_to_plain(status)
    known = {key: value for key, value in plain["cost"].items() if key in BackfillCost.model_fields}
    return BackfillAnswer(**{**plain, "cost": BackfillCost(**known)})
