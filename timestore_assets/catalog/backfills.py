"""Requests to build or land partitions again because of what a schema version changed: asked, approved, done, or refused.

A request says for which version and why. Its progress is no state: which of its partitions are left is told from the segments
(`rewrites`), so nothing has to be counted, and a crash leaves nothing to mend.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from timestore_assets.catalog import datasets, reloads
from timestore_assets.catalog.backfill_records import APPROVED, OPEN, Backfill, BackfillProgress, BackfillState, cause_in_words
from timestore_assets.catalog.change_notices import tell
from timestore_assets.catalog.database import Database
from timestore_assets.catalog.former_names import shown_name
from timestore_assets.catalog.instants import from_micros, to_micros
from timestore_assets.catalog.rewrites import outdated_partitions, outdated_versions, rewrite_cost
from timestore_assets.catalog.tables import backfills, files, source_partitions, sources, topics
from timestore_assets.catalog.tables import datasets as datasets_table
from timestore_assets.model.dataset import BackfillPolicy
from timestore_assets.model.errors import ConflictError, ForgottenError

ACTOR = "backfills"
"""Who ends a request of which nothing is left."""
_FROM: Mapping[str, tuple[BackfillState, ...]] = {
    "approved": ("asked", "refused"),
    "refused": ("asked", "approved"),
    "done": OPEN,
}
"""From which states a request comes into one."""


class Backfills:
    """Each method is one short transaction; what changes something is audited, and Dagster hears of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def request(
        self,
        dataset_id: int,
        *,
        schema_version: int,
        cause: Mapping[str, Any],
        partitions: Sequence[datetime] | None = None,
        cost: Mapping[str, Any],
        policy: BackfillPolicy,
        actor: str,
    ) -> int | None:
        """Ask for a backfill; see `request`."""
        return self._database.timed(
            lambda c, now: request(
                c,
                dataset_id,
                schema_version=schema_version,
                cause=cause,
                partitions=partitions,
                cost=cost,
                policy=policy,
                actor=actor,
                now=now,
            )
        )

    def listed(
        self, *, dataset_ids: Collection[int] | None = None, states: Collection[BackfillState] | None = None
    ) -> list[Backfill]:
        """Requests in order of age; of these datasets, and in these states, where that is said. Dropped datasets have none."""
        return self._database.read(lambda c: listed(c, dataset_ids=dataset_ids, states=states))

    def find(self, backfill_id: int) -> Backfill | None:
        found = self._database.read(lambda c: listed(c, only=backfill_id))
        return found[0] if found else None

    def progress(self, backfill: Backfill) -> BackfillProgress:
        """How far it has come, by the segments that are live now."""
        return self._database.read(lambda c: progress(c, backfill))

    def approve(self, backfill_id: int, *, actor: str) -> bool:
        """Let it be done, also one that was refused; False when it was approved already.

        Raises:
            ConflictError: it has ended. ForgottenError: there is none of that id. DroppedError: its dataset was dropped.
        """
        return self._database.timed(lambda c, now: move(c, backfill_id, "approved", actor=actor, now=now))

    def refuse(self, backfill_id: int, *, actor: str) -> bool:
        """Let it not be done, or not go on: what is rewritten stays so. False when it was refused before; errors as `approve`."""
        return self._database.timed(lambda c, now: move(c, backfill_id, "refused", actor=actor, now=now))

    def done(self, backfill_id: int, *, actor: str) -> bool:
        """Somebody knows that it is done, or needs not be; False when it was done already. Errors as `approve`."""
        return self._database.timed(lambda c, now: move(c, backfill_id, "done", actor=actor, now=now))

    def rewritten_below(self, dataset_id: int) -> int:
        """The schema version of which an approved request wants everything older rewritten; 1 when none does."""
        found = self.listed(dataset_ids=[dataset_id], states=APPROVED)
        return max((one.schema_version for one in found if one.rewrites_all), default=1)

    def files_left(self, dataset_id: int, wanted: Sequence[Mapping[str, Any]], *, since: datetime) -> Sequence[Mapping[str, Any]]:
        """Of files with `address`, and `source` where that is known, those that have not landed since."""
        return self._database.read(lambda c: files_left(c, dataset_id, wanted, since=since))

    def settle(self, dataset_id: int, *, actor: str = ACTOR) -> list[int]:
        """End the dataset's requests of which nothing is left; their ids."""
        return self._database.timed(lambda c, now: settle(c, dataset_id, actor=actor, now=now))


def request(
    connection: Connection,
    dataset_id: int,
    *,
    schema_version: int,
    cause: Mapping[str, Any],
    partitions: Sequence[datetime] | None = None,
    cost: Mapping[str, Any],
    policy: BackfillPolicy,
    actor: str,
    now: int,
) -> int | None:
    """Ask for a backfill, in the transaction that made the schema version; its id, None where the policy is `never`.

    It is approved at once where the policy is `auto`. Asked for again with the same version and cause it stays as it is.

    Args:
        cause, partitions, cost: see `Backfill`.
    """
    if policy == "never":
        return None
    datasets.lock(connection, dataset_id)
    b, why = backfills.c, json.dumps(dict(cause), sort_keys=True)
    same = select(b.id).where(b.dataset_id == dataset_id, b.schema_version == schema_version, b.cause == why)
    known: int | None = connection.execute(same).scalar()
    if known is not None:
        return known
    row = {
        "dataset_id": dataset_id,
        "schema_version": schema_version,
        "cause": why,
        "partitions": json.dumps(None if partitions is None else [to_micros(one) for one in partitions]),
        "cost": json.dumps(dict(cost)),
        "state": "approved" if policy == "auto" else "asked",
        "actor": actor,
        "created_at": now,
        "updated_at": now,
    }
    made: int = connection.execute(backfills.insert().returning(b.id), row).scalar_one()
    (asked,) = listed(connection, only=made)
    _tell(connection, asked, "asked", actor=actor, now=now)
    if policy == "auto":
        _tell(connection, asked, "approved", actor=actor, now=now)
    return made


def request_rewrite(
    connection: Connection,
    dataset_id: int,
    *,
    schema_version: int,
    cause: Mapping[str, Any],
    policy: BackfillPolicy,
    actor: str,
    now: int,
) -> int | None:
    """Ask that every partition be rewritten that the schema version concerns; None also where none is.

    The version has to be the dataset's in this transaction. Partitions are counted for the cost and not listed, so that the
    request of a dataset with many of them is as small as any.
    """
    everything = cause.get("rewrite") == "all"
    versions = outdated_versions(connection, dataset_id, made=schema_version, everything=everything)
    starts = outdated_partitions(connection, dataset_id, versions)
    if not starts:
        return None
    cost = rewrite_cost(connection, dataset_id, starts).plain()
    return request(
        connection, dataset_id, schema_version=schema_version, cause=cause, cost=cost, policy=policy, actor=actor, now=now
    )


def policy_of(definition: Mapping[str, Any]) -> BackfillPolicy:
    """What a dataset's declaration says of who decides; `ask` where it was registered before that could be said."""
    found: BackfillPolicy = definition.get("evolution", {}).get("backfill", "ask")
    return found


def listed(
    connection: Connection,
    *,
    dataset_ids: Collection[int] | None = None,
    states: Collection[BackfillState] | None = None,
    only: int | None = None,
) -> list[Backfill]:
    """See `Backfills.listed`; `only`: the one of that id."""
    b, d = backfills.c, datasets_table.c
    statement = select(backfills, d.name).join_from(backfills, datasets_table).where(d.dropped_at.is_(None)).order_by(b.id)
    if dataset_ids is not None:
        statement = statement.where(b.dataset_id.in_(dataset_ids))
    if states is not None:
        statement = statement.where(b.state.in_(states))
    if only is not None:
        statement = statement.where(b.id == only)
    return [_backfill(row) for row in connection.execute(statement)]


def progress(connection: Connection, backfill: Backfill) -> BackfillProgress:
    """See `Backfills.progress`."""
    if backfill.is_reload:
        left, ranges = (
            tuple(files_left(connection, backfill.dataset_id, backfill.reloads, since=backfill.created_at)),
            tuple(_ranges_left(connection, backfill)),
        )
        of = len(backfill.reloads) + len(backfill.ranges)
        done = of - len(left) - len(ranges)
        return BackfillProgress(done=done, of=of, files=left, ranges=ranges, is_unknown=not of or backfill.others > 0)
    made, everything = backfill.schema_version, backfill.rewrites_all
    versions = outdated_versions(connection, backfill.dataset_id, made=made, everything=everything)
    only = None if backfill.partitions is None else {to_micros(one) for one in backfill.partitions}
    starts = outdated_partitions(connection, backfill.dataset_id, versions, only=only)
    asked = int(backfill.cost.get("partitions", 0)) if backfill.partitions is None else len(backfill.partitions)
    # a build that had begun before may have brought rows of before the version into a partition that had none
    of = max(asked, len(starts))
    return BackfillProgress(done=of - len(starts), of=of, partitions=tuple(map(from_micros, starts)))


def move(connection: Connection, backfill_id: int, state: BackfillState, *, actor: str, now: int) -> bool:
    """Bring a request into another state; False when it is in it. Errors as `Backfills.approve`."""
    dataset_id = connection.execute(select(backfills.c.dataset_id).where(backfills.c.id == backfill_id)).scalar()
    if dataset_id is None:
        raise ForgottenError(f"there is no backfill {backfill_id}; `timestore backfills list --all` shows those that there are")
    datasets.lock(connection, dataset_id)
    (found,) = listed(connection, only=backfill_id)
    if found.state == state:
        return False
    if found.state not in _FROM[state]:
        raise ConflictError(f"backfill {backfill_id} is {found.state}, so it can't be {state} any more")
    change = backfills.update().where(backfills.c.id == backfill_id)
    connection.execute(change.values(state=state, actor=actor, updated_at=now))
    _tell(connection, found, state, actor=actor, now=now)
    return True


def settle(connection: Connection, dataset_id: int, *, actor: str, now: int) -> list[int]:
    """See `Backfills.settle`."""
    if not listed(connection, dataset_ids=[dataset_id], states=OPEN):
        return []
    datasets.lock(connection, dataset_id)
    # under the lock nothing lands or is built between the look and the change
    ended = [one.id for one in listed(connection, dataset_ids=[dataset_id], states=OPEN) if progress(connection, one).is_over]
    return [one for one in ended if move(connection, one, "done", actor=actor, now=now)]


def _tell(connection: Connection, backfill: Backfill, state: BackfillState, *, actor: str, now: int) -> None:
    told = {"backfill": backfill.id, "schema_version": backfill.schema_version, "cause": dict(backfill.cause)}
    details = {**told, "cost": dict(backfill.cost)}
    payload = {
        "backfill": backfill.id,
        "schema_version": backfill.schema_version,
        **{name: backfill.cost[name] for name in ("partitions", "rows", "bytes", "seconds") if name in backfill.cost},
        "reason": f"backfill {backfill.id} is {state}: {cause_in_words(backfill.cause)}",
        "actor": actor,
    }
    tell(connection, backfill.dataset_id, f"backfill_{state}", details, event=payload, actor=actor, now=now)


def files_left(
    connection: Connection, dataset_id: int, wanted: Sequence[Mapping[str, Any]], *, since: datetime
) -> list[Mapping[str, Any]]:
    """Of files to land again those that were not since then; one that is gone from its source stays among them."""
    f, left = files.c, []
    for file in wanted:
        landed = (
            select(f.id)
            .join_from(files, sources, f.source_id == sources.c.id)
            .where(f.dataset_id == dataset_id, f.address == file["address"], f.state == "landed")
            .where(f.updated_at > to_micros(since))
        )
        if file.get("source"):
            landed = landed.where(sources.c.address == file["source"])
        if connection.execute(landed.limit(1)).first() is None:
            left.append(file)
    return left


def _ranges_left(connection: Connection, backfill: Backfill) -> list[Mapping[str, Any]]:
    """Of the windows to read again those that were not swapped in since the request."""
    if not backfill.ranges:
        return []
    p, left = source_partitions.c, []
    again = reloads.reloaded_since(connection, backfill.dataset_id, to_micros(backfill.created_at))
    for one in backfill.ranges:
        known = (
            select(p.id)
            .join_from(source_partitions, sources, p.source_id == sources.c.id)
            .join(topics, topics.c.id == p.topic_row_id)
            .where(sources.c.dataset_id == backfill.dataset_id, sources.c.address == one["source"])
            .where(topics.c.topic == one["topic"], p.number == one["partition"])
        )
        windows = [window for source in connection.execute(known).scalars() for window in again.get(source, ())]
        if not any(first <= one["from"] and one["to"] <= end for first, end in windows):
            left.append(one)
    return left


def _backfill(row: Row[Any]) -> Backfill:
    partitions = json.loads(row.partitions)
    return Backfill(
        id=row.id,
        dataset_id=row.dataset_id,
        dataset=shown_name(row.name),
        schema_version=row.schema_version,
        cause=json.loads(row.cause),
        partitions=None if partitions is None else tuple(map(from_micros, partitions)),
        cost=json.loads(row.cost),
        state=row.state,
        actor=row.actor,
        created_at=from_micros(row.created_at),
        updated_at=from_micros(row.updated_at),
    )
