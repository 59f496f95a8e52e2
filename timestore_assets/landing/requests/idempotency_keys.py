"""Which requests are new, which repeat an earlier one by their idempotency key, and which use a key for something else."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.commit_values import NewIngestion
from timestore_assets.catalog.service_records import Ingestion
from timestore_assets.landing.requests.submission import Accepted, KeyReusedError, Landed, Outcome, Request
from timestore_assets.model.errors import ConflictError, UnavailableError

ELSEWHERE_SECONDS = 30.0
"""How long a request waits for another process that lands the same key."""


class KeysUsedError(ConflictError):
    """A key of the batch has been used since it was looked up."""


@dataclass(kw_only=True, slots=True)
class Sorted:
    """Requests by what their keys say."""

    fresh: list[Request] = field(default_factory=list)
    """To be landed."""
    known: list[Request] = field(default_factory=list)
    """Their records have landed before under the same key, by another way (a file)."""
    elsewhere: list[Request] = field(default_factory=list)
    """Another process is landing them."""


def sort_by_key(catalog: Catalog, dataset_id: int, requests: Sequence[Request]) -> Sorted:
    """Look up the keys of requests; those that repeat an earlier one, or use its key for something else, get their answers."""
    keys = [request.key for request in requests if request.key is not None]
    earlier = catalog.ingestions.with_keys(dataset_id, keys) if keys else {}
    used = catalog.commits.known_keys(dataset_id, keys) if keys else {}
    result = Sorted()
    for request in requests:
        key = request.key
        before = None if key is None else earlier.get(key)
        if key is None or (before is not None and before.id == request.submission.id):
            result.fresh.append(request)
        elif before is not None:
            _repeat(request, before, result)
        elif key not in used:
            result.fresh.append(request)
        elif used[key] == request.digests()[0]:
            result.known.append(request)
        else:
            request.fail(KeyReusedError(key))
    return result


def confirm_unused(catalog: Catalog, dataset_id: int, requests: Sequence[Request]) -> None:
    """Raise KeysUsedError when a key of fresh requests is fresh no more."""
    sought = [request for request in requests if request.key is not None]
    keys = [request.key for request in sought if request.key is not None]
    if not keys:
        return
    found = catalog.ingestions.with_keys(dataset_id, keys)
    own = {request.submission.id for request in sought}
    if any(one.id not in own for one in found.values()) or catalog.commits.known_keys(dataset_id, keys):
        raise KeysUsedError("an idempotency key has been used since it was looked up")


def announce(catalog: Catalog, dataset_id: int, session_id: int, request: Request) -> None:
    """Make known that an asynchronous request waits, and accept it.

    Raises:
        KeysUsedError: its key has been used since it was looked up.
    """
    if not catalog.ingestions.announce(dataset_id, session_id, new_ingestion(request)):
        raise KeysUsedError("an idempotency key has been used since it was looked up")
    request.announced = True
    request.succeed(Accepted(id=request.submission.id))


def new_ingestion(request: Request, outcome: Outcome | None = None) -> NewIngestion:
    """What the catalog keeps of a request. `outcome`: None while it waits."""
    submission = request.submission
    return NewIngestion(
        id=submission.id,
        key=submission.key,
        # one without a key is never compared
        digest="" if submission.key is None else request.digests()[1],
        outcome={} if outcome is None else outcome.plain(),
        actor=submission.actor,
        announced=request.announced,
    )


def _repeat(request: Request, before: Ingestion, result: Sorted) -> None:
    if before.digest != request.digests()[1]:
        request.fail(KeyReusedError(request.key or ""))
    elif before.state == "landed":
        request.succeed(Landed.before(before))
    elif request.submission.asynchronous:
        request.succeed(Accepted(id=before.id, repeated=True))
    else:
        request.patient_until = request.patient_until or time.monotonic() + ELSEWHERE_SECONDS
        if time.monotonic() > request.patient_until:
            request.fail(UnavailableError("another process is still landing the request of this key; send it again later"))
        else:
            result.elsewhere.append(request)
