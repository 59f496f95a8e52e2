"""Rows of the audit become runs with a beginning and one end, in whatever pieces they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from timestore_assets.catalog.event_cursors import AuditRow, AuditRows
from timestore_assets.catalog.sessions import SessionTimes
from timestore_assets.lineage.runs import (
    DEAD,
    RUNNING_EVERY,
    OpenRuns,
    Run,
    RunNews,
    news_of,
    open_runs_from_plain,
    open_runs_to_plain,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def row(number: int, action: str, *, actor: str = "cli:ada", token: str | None = None, **details: Any) -> AuditRow:
    return AuditRow(
        id=number,
        at=NOW + timedelta(seconds=number),
        dataset_id=1,
        dataset="weather",
        actor=actor,
        action=action,
        details=details,
        token=token,
        manifest_version=number,
    )


def landed(number: int, session: int, count: int = 10, *keys: str, refused: int = 0) -> AuditRow:
    counters = {"read": count + refused, "landed": count, "dead_letters": refused}
    reasons = {"no_time": refused} if refused else {}
    known = {"source": "inbox/**/*", "source_kind": "files", "segments": 1, "bytes": 100, "partitions": list(keys)}
    return row(number, "landed", session=session, counters=counters, reasons=reasons, **known)


def times(began: int = 0, ended: int | None = None, expires: timedelta = timedelta(minutes=1)) -> SessionTimes:
    end = None if ended is None else NOW + timedelta(seconds=ended)
    return SessionTimes(started_at=NOW + timedelta(seconds=began), ended_at=end, expires_at=NOW + expires)


def read(*rows: AuditRow, are_all: bool = True, now: datetime = NOW) -> AuditRows:
    return AuditRows(rows=rows, are_all=are_all, now=now)


def tell(
    found: AuditRows, runs: OpenRuns | None = None, *, before: Mapping[int, SessionTimes] | None = None, **after: SessionTimes
) -> tuple[list[RunNews], dict[int, Run]]:
    known = {int(name.removeprefix("s")): value for name, value in after.items()}
    return news_of(runs or {}, found, before=before or {}, after=known)


def states(news: Sequence[RunNews]) -> list[tuple[str, str]]:
    return [(one.run.key, one.state) for one in news]


def test_a_session_begins_with_its_first_commit_and_ends_with_all_of_them() -> None:
    news, runs = tell(read(landed(1, 7, 10, "2013-01-02"), landed(2, 7, 5, "2013-01-01", refused=2)), s7=times(-5))
    assert states(news) == [("session/7", "START")]
    assert news[0].at == NOW - timedelta(seconds=5)
    news, runs = tell(read(), runs, before={7: times(-5, ended=9)})
    assert states(news) == [("session/7", "COMPLETE")] and runs == {}
    run = news[0].run
    assert (run.rows, run.segments, run.bytes, run.reasons) == (15, 2, 200, {"no_time": 2})
    assert run.counters == {"read": 17, "landed": 15, "dead_letters": 2}
    assert (run.first_partition, run.last_partition, run.manifest_version) == ("2013-01-01", "2013-01-02", 2)


def test_a_session_that_has_ended_is_not_over_before_its_last_commit_is_read() -> None:
    _, runs = tell(read(landed(1, 7)), s7=times())
    ended = {7: times(ended=9)}
    news, runs = tell(read(landed(2, 7), are_all=False), runs, before=ended)
    assert news == [] and runs[7].rows == 20
    # it had not ended when its times were read, so that rows may be missing
    news, runs = tell(read(landed(3, 7)), runs, before={7: times()})
    assert news == [] and runs[7].rows == 30
    assert states(tell(read(), runs, before=ended)[0]) == [("session/7", "COMPLETE")]


def test_a_long_session_is_told_of_now_and_then() -> None:
    _, runs = tell(read(landed(1, 7)), s7=times())
    assert tell(read(landed(2, 7)), runs, before={7: times()})[0] == []
    later = NOW + RUNNING_EVERY + timedelta(seconds=5)
    news, runs = tell(read(landed(3, 7), now=later), runs, before={7: times()})
    assert states(news) == [("session/7", "RUNNING")] and news[0].run.rows == 20
    assert tell(read(landed(4, 7), now=later), runs, before={7: times()})[0] == []


def test_a_session_that_fails_has_its_reason_whether_it_landed_anything_or_not() -> None:
    failed = row(2, "landing_failed", session=7, reason="the store is away", source="inbox/**/*")
    news, runs = tell(read(landed(1, 7), failed), s7=times())
    assert states(news) == [("session/7", "START"), ("session/7", "FAIL")] and runs == {}
    assert news[-1].error == "the store is away" and news[-1].run.rows == 10
    news, runs = tell(read(failed), s7=times())
    assert states(news) == [("session/7", "START"), ("session/7", "FAIL")] and runs == {}


def test_a_session_that_died_is_aborted_and_one_that_pauses_is_not() -> None:
    _, runs = tell(read(landed(1, 7)), s7=times())
    assert tell(read(now=NOW + DEAD), runs, before={7: times()})[0] == []
    news, left = tell(read(now=NOW + DEAD + timedelta(minutes=2)), runs, before={7: times()})
    assert states(news) == [("session/7", "ABORT")] and left == {}


def test_a_session_that_the_catalog_has_forgotten_is_over() -> None:
    _, runs = tell(read(landed(1, 7)), s7=times())
    assert states(tell(read(are_all=False), runs)[0]) == []
    news, left = tell(read(), runs)
    assert states(news) == [("session/7", "COMPLETE")] and left == {}


def test_each_build_is_a_run_of_its_own() -> None:
    built = {"partition": "2013-01-01", "rows": 12, "bytes": 99, "segments": 1, "superseded_rows": 3, "seconds": 2.5}
    news, runs = tell(read(row(1, "built", token="t1", **built), row(2, "built", token="t2", **built)))
    assert states(news) == [
        ("build/t1", "START"), ("build/t1", "COMPLETE"), ("build/t2", "START"), ("build/t2", "COMPLETE"),
    ]  # fmt: skip
    assert news[1].at - news[0].at == timedelta(seconds=2.5) and runs == {}
    failed, _ = tell(read(row(3, "build_failed", partition="2013-01-01", reason="damaged")))
    assert states(failed) == [("build/3", "START"), ("build/3", "FAIL")] and failed[1].error == "damaged"


def test_what_is_no_run_is_passed_over() -> None:
    before_sessions_were_named = row(2, "landed", counters={"read": 1})
    assert tell(read(row(1, "retention_set", after={}), before_sessions_were_named)) == ([], {})


@pytest.mark.parametrize("cut", range(5))
def test_where_the_rows_are_cut_changes_nothing(cut: int) -> None:
    rows = [landed(1, 7), landed(2, 8), landed(3, 7), row(4, "replayed", session=9, counters={"landed": 2})]
    after = {"s7": times(), "s8": times(), "s9": times()}
    whole, runs = tell(read(*rows), **after)
    one, some = tell(read(*rows[:cut], are_all=False), **after)
    plain = open_runs_to_plain(some)
    two, again = tell(read(*rows[cut:]), open_runs_from_plain(plain), before={session: times() for session in some}, **after)
    assert states(one) + states(two) == states(whole) and again == runs


@pytest.mark.parametrize(
    ("action", "details", "change"),
    [
        ("schema_migrated", {"version": 3}, "ALTER"),
        ("retracted", {"rows": 5, "partitions": {"2013-01-02": 3, "2013-01-01": 2}}, "OVERWRITE"),
        ("rolled_back", {"from": 7, "to": 3, "partitions": ["2013-01-01", "2013-01-02"]}, "OVERWRITE"),
    ],
)
def test_what_people_change_is_a_run_that_is_over_at_once(action: str, details: dict[str, Any], change: str) -> None:
    news, runs = tell(read(row(1, action, token="t1", **details)))
    assert states(news) == [("change/t1", "START"), ("change/t1", "COMPLETE")] and runs == {}
    one = news[-1].run
    assert (one.dataset, one.change, one.manifest_version) == ("weather", change, 1)
    assert (one.first_partition, one.last_partition) == (("2013-01-01", "2013-01-02") if "partitions" in details else ("", ""))


def test_a_change_of_the_name_is_told_of_the_name_that_counts() -> None:
    renamed = row(1, "dataset_renamed", **{"from": "weather", "to": "climate"})
    dropped = row(2, "dataset_dropped", dataset="climate", rows=7)
    news, _ = tell(read(renamed, dropped))
    assert [(one.run.dataset, one.run.change, one.run.former_name) for one in news[::2]] == [
        ("climate", "RENAME", "weather"), ("climate", "DROP", ""),
    ]  # fmt: skip
    assert [one.run.key for one in news[::2]] == ["change/1", "change/2"]
