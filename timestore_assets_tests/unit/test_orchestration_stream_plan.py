"""Which sessions on topics are asked for, decided from values alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

import pytest

from timestore_assets.catalog.records import TopicPartition
from timestore_assets.orchestration.landing.stream_plan import AtWork, SessionPolicy, plan_sessions
from timestore_assets.sources.kafka.lag import PartitionLag, SourceLag
from timestore_assets.sources.kafka.sharding import Shard

IDLE = timedelta(minutes=1)


def partition(
    number: int, *, lag: int = 0, held: int | None = None, quiet: timedelta = IDLE, position: int = 100, low: int = 0
) -> PartitionLag:
    known = TopicPartition(
        id=number + 1,
        source_id=1,
        cluster_id="c",
        topic="t",
        epoch=1,
        topic_id=None,
        number=number,
        position=position,
        quiet=quiet,
        session_id=held,
    )
    return PartitionLag(topic="t", number=number, low=low, high=max(position, low) + lag, position=position, known=known)


def source(*partitions: PartitionLag, missing: tuple[str, ...] = ()) -> SourceLag:
    return SourceLag(cluster_id="c", partitions=partitions, missing=missing)


def policy(shards: int | Literal["auto"] = "auto", *, skip_lost: bool = False) -> SessionPolicy:
    return SessionPolicy(shards=shards, lag_per_session=1000, most=4, skip_lost=skip_lost, idle=IDLE)


def asked(lag: SourceLag, how: SessionPolicy, runs: str = "", lost: Mapping[tuple[int, int], bool] | None = None) -> list[str]:
    pairs = [shard.split("/") for shard in runs.split()]
    now = AtWork(runs=[Shard(index=int(index), of=int(of)) for index, of in pairs], lost=lost or {})
    return [str(wanted.shard) for wanted in plan_sessions(lag, how, now).wanted]


@pytest.mark.parametrize(
    ("lags", "shards"),
    [
        ([0] * 12, []),
        ([1] + [0] * 11, ["0/1"]),
        ([1000] + [0] * 11, ["0/1"]),
        ([150] * 12, ["0/2", "1/2"]),
        ([1_000_000] * 12, ["0/4", "1/4", "2/4", "3/4"]),
        ([5000, 5000, 0, 0], ["0/2", "1/2"]),
        ([9000], ["0/1"]),
    ],
)
def test_auto_asks_for_as_many_sessions_as_the_lag_needs(lags: list[int], shards: list[str]) -> None:
    lag = source(*(partition(number, lag=each) for number, each in enumerate(lags)))
    assert asked(lag, policy()) == shards


def test_auto_goes_from_several_sessions_to_one() -> None:
    held = [partition(number, lag=10, held=7 if number % 4 else None) for number in range(12)]
    assert asked(source(*held), policy(), "1/4 2/4 3/4") == ["0/1"], "the first of four has ended: one takes over what it left"
    assert asked(source(*held), policy(), "0/1 1/4 2/4 3/4") == []


def test_auto_asks_for_no_more_while_few_sessions_hold_everything() -> None:
    lag = source(*(partition(number, lag=5000, held=1) for number in range(4)))
    assert asked(lag, policy(), "0/1") == []
    assert asked(source(*(partition(number, lag=5000) for number in range(4))), policy(), "0/2") == ["1/2"]


def test_what_a_session_outside_dagster_leaves_is_taken() -> None:
    lag = source(partition(0, lag=50, held=3), partition(1, lag=50))
    assert asked(lag, policy()) == ["0/1"]
    assert asked(source(partition(0, lag=50, held=3), partition(1, quiet=timedelta(0))), policy()) == []


def test_a_fixed_shard_waits_while_anything_of_it_is_read() -> None:
    lag = source(partition(0, lag=1, held=9), partition(1, lag=1), partition(2, lag=1), partition(3))
    assert asked(lag, policy(2)) == ["1/2"]
    assert asked(lag, policy(2), "1/2") == []
    assert asked(lag, policy(4)) == ["1/4", "2/4"], "the last shard has nothing to do"


def test_a_session_counts_quiet_time_and_opens_new_topic_partitions() -> None:
    assert asked(source(partition(0, quiet=timedelta(seconds=59))), policy()) == ["0/1"]
    assert asked(source(partition(0), PartitionLag(topic="t", number=1, low=5, high=5, position=5)), policy()) == ["0/1"]
    assert asked(source(partition(0), partition(1)), policy()) == []


def test_lost_offsets_wait_for_a_person_once_they_are_on_record() -> None:
    lag = source(partition(0, position=10, low=30, lag=5), partition(1))
    assert asked(lag, policy()) == ["0/1"], "a session puts them on record"
    plan = plan_sessions(lag, policy(), AtWork(lost={(1, 10): False}))
    assert plan.wanted == ()
    assert plan.reason == "the brokers deleted offsets before they were read (t/0 10 to 29)"
    assert asked(lag, policy(), lost={(1, 10): True}) == ["0/1"]
    assert asked(lag, policy(skip_lost=True), lost={(1, 10): False}) == ["0/1"]
    beside = source(partition(0, position=10, low=30, lag=5), partition(1, lag=4))
    assert asked(beside, policy(), lost={(1, 10): False}) == ["0/1"], "other topic partitions go on"


def test_the_same_work_has_the_same_checkpoints() -> None:
    def checkpoints(lag: SourceLag, lost: Mapping[tuple[int, int], bool] | None = None) -> tuple[str, ...]:
        (wanted,) = plan_sessions(lag, policy(), AtWork(lost=lost or {})).wanted
        return wanted.checkpoints

    first = checkpoints(source(partition(0, lag=5)))
    assert first == checkpoints(source(partition(0, lag=500)))
    assert first != checkpoints(source(partition(0, lag=5, position=101)))
    gap = source(partition(0, position=10, low=30))
    assert checkpoints(gap) != checkpoints(gap, {(1, 10): True})


@pytest.mark.parametrize(
    ("lag", "runs", "reason"),
    [
        (source(partition(0), partition(1)), "", "all 2 topic partitions have been read to their ends"),
        (source(partition(0, lag=7, held=4)), "0/1", "1 session at work, lag 7"),
        (source(partition(0, lag=7)), "0/1", "1 session about to begin, lag 7"),
        (source(missing=("t",)), "", "topic t does not exist on this cluster"),
        (source(missing=("t", "u")), "", "topics t, u do not exist on this cluster"),
    ],
)
def test_a_tick_without_a_request_says_why(lag: SourceLag, runs: str, reason: str) -> None:
    shards = [Shard(index=0, of=1)] if runs else []
    assert plan_sessions(lag, policy(), AtWork(runs=shards)).reason == reason
