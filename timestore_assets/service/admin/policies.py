"""What an operator sets for a dataset in place of its declaration: how any of it is shown and changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypedDict

from fastapi import Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.catalog.service_records import Policy, PolicyKind
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.window import format_time
from timestore_assets.service import json_bodies
from timestore_assets.service.access.caller import Caller
from timestore_assets.service.etags import TAGGED, tagged
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import responses
from timestore_assets.service.state import Service

ERRORS = responses(
    HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)  # fmt: skip
CHANGE_ERRORS = {200: {"headers": TAGGED}, **ERRORS, **responses(HTTPStatus.PRECONDITION_FAILED, *json_bodies.ERRORS)}


class PolicyAnswer(Wire):
    """Who set what counts, and when."""

    version: int = Field(description="Rises with every change made here; 0 when there was none.", examples=[1])
    set_by: str | None = Field(examples=["token:operations"])
    set_at: str | None = Field(examples=["2026-01-02T03:04:05Z"])


class SetHere(TypedDict):
    """The fields of `PolicyAnswer`."""

    version: int
    set_by: str | None
    set_at: str | None


def set_here(policy: Policy | None) -> SetHere:
    """What every answer about a policy says."""
    if policy is None or policy.value is None:
        return SetHere(version=policy.version if policy else 0, set_by=None, set_at=None)
    return SetHere(version=policy.version, set_by=policy.actor, set_at=format_time(policy.updated_at))


Shown = Callable[[Catalog, Dataset, DatasetRecord], PolicyAnswer]
"""A dataset's policy of some kind, as declared and as set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyChange:
    kind: PolicyKind
    value: Mapping[str, Any] | None
    """Plain JSON; None takes back what was set."""
    if_version: int | None
    """The change is made only to this version; None: whatever others did."""


def shown_policy(request: Request, service: Service, caller: Caller, name: str, answer_of: Shown) -> Response:
    """The answer to a GET."""
    service.dataset(caller, name)
    answer = answer_of(service.warehouse.catalog, *service.warehouse.resolve(name))
    return tagged(request, answer, version=answer.version)


async def changed_policy(
    request: Request, service: Service, caller: Caller, name: str, change: PolicyChange, answer_of: Shown
) -> Response:
    """Make the change, which the audit log keeps with what was before; the answer to a PUT."""
    service.dataset(caller, name)

    def work() -> PolicyAnswer:
        dataset, record = service.warehouse.resolve(name)
        catalog = service.warehouse.catalog
        catalog.policies.put(record.id, change.kind, change.value, actor=caller.name, if_version=change.if_version)
        return answer_of(catalog, dataset, record)

    answer = await run_in_threadpool(work)
    return tagged(request, answer, version=answer.version)
