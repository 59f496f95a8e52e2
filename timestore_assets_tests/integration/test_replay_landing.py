"""Replay of dead letters on both databases: what lands, what stays, what the catalog says, and who wins a race."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from timestore_assets.building.builder import Builder
from timestore_assets.landing.committing import staged_dead_letters
from timestore_assets.landing.dead_letters import replay as replaying
from timestore_assets.landing.dead_letters import replay_records
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import CsvDialect, Evolution, FileSource, Late
from timestore_assets.model.errors import ConflictError, RefusedError, UnknownOutcomeError
from timestore_assets.model.schema import Schema
from timestore_assets.segments.publishing import publish
from timestore_assets_tests.support.dead_letter_replays import (
    FILES,
    MENDABLE,
    POISON,
    STRICT,
    TOPIC,
    land_topic,
    lines_of,
    mended,
    offsets,
    replay,
)
from timestore_assets_tests.support.landing_warehouse import NOW, LandingWarehouse, columns, dataset

GOOD = b'{"ts": "2013-02-01", "station": "good"}'


@pytest.fixture
def warehouse(catalog_url: str, tmp_path: Path) -> Iterator[LandingWarehouse]:
    warehouse = LandingWarehouse.at(tmp_path, STRICT, url=catalog_url, source=FILES)
    yield warehouse
    warehouse.catalog.close()


def after_mending(warehouse: LandingWarehouse, **changes: Any) -> LandingWarehouse:
    return warehouse.with_dataset(replace(mended(warehouse.dataset), **changes))


def assert_accounted(warehouse: LandingWarehouse) -> None:
    """I1, I2: counters add up to what is there, and no record is there twice."""
    for source in warehouse.catalog.sources.of(warehouse.record.id):
        assert source.counters.balanced
    counters = warehouse.counters()
    kinds = {"refused": counters.dead_letters, "late_dropped": counters.late_dropped, "held": counters.held}
    letters = warehouse.letters()
    for kind, number in kinds.items():
        assert sum(letter.kind == kind for letter in letters) == number
    assert len(warehouse.rows()) == counters.landed
    landed = warehouse.places()
    refused = [(letter.source_partition, letter.position) for letter in letters]
    assert len({*landed, *refused}) == len(landed) + len(refused) == counters.read - counters.duplicates


def test_poison_in_a_file_is_refused_for_what_it_is_and_replayed_once(warehouse: LandingWarehouse) -> None:
    warehouse.land_one("a.jsonl", lines_of([*POISON.values(), GOOD]))
    assert sorted(warehouse.codes()) == sorted(POISON.keys() - {"null_value"})
    before = {letter.position: letter for letter in warehouse.letters()}
    fixed = after_mending(warehouse)
    report = replay(fixed)
    still = POISON.keys() - {"null_value", *MENDABLE}
    assert (report.files, report.settled, report.records, report.landed) == (1, 1, len(POISON) - 1, len(MENDABLE))
    assert report.reasons == dict.fromkeys(still, 1)
    assert report.partitions == ("2013-01-01", "2013-02-03", "2013-02-05", "2013-02-06", "2013-02-07")
    assert [(change.kind, change.column) for change in report.schema_changes] == [("column_added", "extra")]
    assert sorted(fixed.codes()) == sorted(still)
    for letter in fixed.letters():
        assert (letter.raw, letter.line, letter.recorded_at) == (
            before[letter.position].raw,
            before[letter.position].line,
            before[letter.position].recorded_at,
        )
    assert_accounted(fixed)
    assert fixed.rows("extra").count((7,)) == 1
    again = replay(fixed)
    assert (again.landed, again.settled, again.records) == (0, 0, len(still))
    assert_accounted(fixed)


def test_poison_in_a_topic_keeps_its_place_and_what_the_broker_kept(warehouse: LandingWarehouse) -> None:
    messages = offsets([*POISON.values(), GOOD], partitions=3)
    messages = [
        replace(one, key=f"k{at}".encode(), headers=(("h", b"\xff"), ("none", None)), timestamp=NOW + timedelta(seconds=at))
        for at, one in enumerate(messages)
    ]
    land_topic(warehouse, messages)
    assert warehouse.counters() == Counters(read=len(POISON) + 1, landed=1, dead_letters=len(POISON))
    fixed = after_mending(warehouse)
    report = replay(fixed)
    assert report.landed == len(MENDABLE)
    assert report.counters == Counters(landed=len(MENDABLE), dead_letters=-len(MENDABLE))
    (origin,) = (source for source in warehouse.catalog.sources.of(warehouse.record.id) if source.kind == "kafka")
    numbers = {one.id: one.number for one in warehouse.catalog.topics.partitions(origin.id)}
    expected = {(one.partition, one.offset): one for one in messages}
    for letter in fixed.letters():
        one = expected[numbers[letter.source_partition or 0], letter.position]
        assert (letter.raw, letter.key, letter.headers, letter.timestamp) == (one.value, one.key, one.headers, one.timestamp)
    named = zip(messages, [*POISON, "good"], strict=True)
    lands = {(one.partition, one.offset) for one, code in named if code in (*MENDABLE, "good")}
    assert {(numbers[source], position) for source, position in fixed.places()} == lands
    assert_accounted(fixed)
    # what is refused still goes to the dead-letter topic, if it has not yet
    assert [file.forward for _, file, _ in fixed.catalog.dead_letters.of(fixed.record.id)] == [True]


def test_only_the_chosen_reason_is_tried(warehouse: LandingWarehouse) -> None:
    warehouse.land_one("a.jsonl", lines_of(list(POISON.values())))
    fixed = after_mending(warehouse)
    report = replay(fixed, code="failed_check")
    assert (report.records, report.landed, report.refused) == (1, 1, 0)
    assert sorted(fixed.codes()) == sorted(POISON.keys() - {"null_value", "failed_check"})
    assert replay(fixed, code="nothing_like_it").files == 0
    assert_accounted(fixed)


def test_only_so_many_files_are_tried_oldest_first(warehouse: LandingWarehouse) -> None:
    for number in range(3):
        warehouse.land_one(f"{number}.jsonl", [{"ts": "2013-02-03", "station": f"s{number}", "temp": 300}])
    fixed = after_mending(warehouse)
    assert replay(fixed, files=2).landed == 2
    assert [letter.source for letter in fixed.letters()] == ["2.jsonl"]
    assert replay(fixed).landed == 1
    assert fixed.rows("station") == [("s0",), ("s1",), ("s2",)]
    assert_accounted(fixed)


def test_nothing_is_written_where_nothing_can_land(warehouse: LandingWarehouse) -> None:
    warehouse.land_one("a.jsonl", [{"ts": "2013-02-03", "station": "s", "temp": 300}])
    before = (
        warehouse.objects(),
        warehouse.catalog.manifest.version(warehouse.record.id),
        warehouse.catalog.audit.newest(limit=1),
    )
    report = replay(warehouse)
    assert (report.files, report.settled, report.records, report.reasons) == (1, 0, 1, {"failed_check": 1})
    assert (
        warehouse.objects(),
        warehouse.catalog.manifest.version(warehouse.record.id),
        warehouse.catalog.audit.newest(limit=1),
    ) == before


@pytest.mark.parametrize("policy", ["drop", "hold"])
def test_late_records_are_replayed_only_when_they_are_asked_for(warehouse: LandingWarehouse, policy: Any) -> None:
    late = warehouse.with_dataset(replace(warehouse.dataset, late=Late(policy=policy)))
    values = [b'{"ts": "2013-02-03", "station": "late"}', b'{"ts": "2013-05-03", "station": "on time"}', POISON["bad_json"]]
    land_topic(late, offsets(values), late_before=NOW - timedelta(days=60))
    kind = "late_dropped" if policy == "drop" else "held"
    assert getattr(late.counters(), kind) == 1
    assert replay(late).landed == 0
    report = replay(late, kind=kind)
    assert report.counters == Counters(**{"landed": 1, kind: -1})
    assert late.rows("station") == [("on time",), ("late",)]
    assert_accounted(late)
    assert replay(late, kind=None).landed == 0


def test_a_sealed_partition_turns_stale(warehouse: LandingWarehouse) -> None:
    warehouse.land_one("a.jsonl", lines_of([GOOD, b'{"ts": "2013-02-01", "station": "hot", "temp": 300}']))
    day = warehouse.catalog.partitions.of(warehouse.record.id)[0].partition
    with Builder(warehouse.context) as builder:
        builder.build(warehouse.dataset, day, close=True, actor="test")
    assert [one.state for one in warehouse.catalog.partitions.of(warehouse.record.id)] == ["sealed"]
    fixed = after_mending(warehouse)
    assert replay(fixed).landed == 1
    assert [one.state for one in warehouse.catalog.partitions.of(warehouse.record.id)] == ["stale"]
    with Builder(warehouse.context) as builder:
        builder.build(fixed.dataset, day, close=True, actor="test")
    assert sorted(fixed.rows("station")) == [("good",), ("hot",)]
    assert_accounted(fixed)


def test_replays_at_once_land_each_record_once(warehouse: LandingWarehouse) -> None:
    for number in range(4):
        warehouse.land_one(
            f"{number}.jsonl", [{"ts": "2013-02-03", "station": f"s{at}", "temp": 300} for at in range(number + 1)]
        )
    fixed = after_mending(warehouse)
    together = threading.Barrier(2)

    def one(_: int) -> replaying.ReplayReport:
        together.wait(20)
        return replay(fixed)

    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(one, range(2)))
    assert sum(report.landed for report in reports) == 10
    assert sum(report.settled for report in reports) == 4
    assert fixed.counters() == Counters(read=10, landed=10)
    assert_accounted(fixed)


def test_a_lost_race_is_told_and_the_rest_goes_on(warehouse: LandingWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        warehouse.land_one(f"{number}.jsonl", [{"ts": "2013-02-03", "station": f"s{number}", "temp": 300}])
    fixed = after_mending(warehouse)
    original, first = publish, []

    def overtaken(*args: Any) -> int:
        if not first:
            first.append(args)
            monkeypatch.setattr(replaying, "publish", original)
            assert replay(fixed, files=1).landed == 1
        return original(*args)

    monkeypatch.setattr(replaying, "publish", overtaken)
    report = replay(fixed)
    assert (report.landed, report.overtaken, report.files) == (1, 1, 2)
    assert_accounted(fixed)
    fixed.collect()
    assert warehouse.catalog.objects.known() == warehouse.objects()


@pytest.mark.parametrize("happened", [True, False])
def test_a_commit_of_unknown_outcome_is_settled_by_the_catalog(
    warehouse: LandingWarehouse, monkeypatch: pytest.MonkeyPatch, happened: bool
) -> None:
    warehouse.land_one("a.jsonl", lines_of(list(POISON.values())))
    fixed = after_mending(warehouse)
    original, broken = type(warehouse.catalog.commits).land, []

    def unknown(commits: Any, commit: Any) -> int:
        if broken:
            return original(commits, commit)
        broken.append(commit)
        if happened:
            original(commits, commit)
        raise UnknownOutcomeError("the connection broke")

    monkeypatch.setattr(type(warehouse.catalog.commits), "land", unknown)
    report = replay(fixed)
    assert (report.landed, report.overtaken) == (len(MENDABLE), 0)
    assert_accounted(fixed)


def test_evolution_by_another_session_meanwhile_is_taken_up(warehouse: LandingWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse.land_one("a.jsonl", lines_of([POISON["unknown_column"]]))
    fixed = after_mending(warehouse)

    def behind(*args: Any) -> int:
        monkeypatch.setattr(replaying, "publish", publish)
        fixed.land_one("b.jsonl", [{"ts": "2013-02-03", "station": "s", "extra": "text", "more": 1}])
        return publish(*args)

    monkeypatch.setattr(replaying, "publish", behind)
    assert replay(fixed).landed == 1
    assert sorted(fixed.rows("extra")) == [("7",), ("text",)]
    assert_accounted(fixed)


def test_records_of_a_replaced_content_are_left_alone(warehouse: LandingWarehouse) -> None:
    source = replace(FILES, on_change="replace")
    replacing = replace(warehouse, dataset=replace(warehouse.dataset, sources=(source,)), source=source)
    replacing.land_one("a.jsonl", lines_of([GOOD, POISON["failed_check"]]))
    replacing.land_one("a.jsonl", lines_of([GOOD, GOOD.replace(b"good", b"new"), POISON["failed_check"]]))
    fixed = after_mending(replacing)
    report = replay(fixed)
    assert (report.files, report.landed) == (2, 1)
    assert sorted(fixed.rows("station")) == [("A",), ("good",), ("new",)]
    assert len(fixed.letters()) == 1


def test_a_content_replaced_during_the_replay_wins(warehouse: LandingWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    source = replace(FILES, on_change="replace")
    replacing = replace(warehouse, dataset=replace(warehouse.dataset, sources=(source,)), source=source)
    replacing.land_one("a.jsonl", lines_of([GOOD, POISON["failed_check"]]))
    fixed = after_mending(replacing)

    def behind(*args: Any) -> int:
        monkeypatch.setattr(replaying, "publish", publish)
        fixed.land_one("a.jsonl", lines_of([GOOD.replace(b"good", b"new")]))
        return publish(*args)

    monkeypatch.setattr(replaying, "publish", behind)
    assert replay(fixed).landed == 0
    assert fixed.rows("station") == [("new",)]


CSV = dataset(*columns(n="int64?"), sources=(FileSource(prefix="inbox"),))


def test_csv_lines_are_cut_again_by_the_dialect_of_today(catalog_url: str, tmp_path: Path) -> None:
    quoted, cut_off = '2013-02-01,"a ""b"", c",500,1\n', '2013-02-02,"open,1,2\n2013-02-03,x,1\n'
    text = f'ts,station,temp,n\n{quoted}{cut_off}2013-02-04,"two\nlines",600,2\n'
    warehouse = LandingWarehouse.at(tmp_path, CSV, url=catalog_url, source=FileSource(prefix="inbox"))
    warehouse.land_one("a.csv", text)
    assert warehouse.codes() == ["failed_check", "unclosed_quote", "ragged", "failed_check"]
    fixed = after_mending(warehouse)
    report = replay(fixed)
    assert (report.landed, report.reasons) == (2, {"unclosed_quote": 1, "ragged": 1})
    assert fixed.rows("station", "temp", "n") == [('a "b", c', 500.0, 1), ("two\nlines", 600.0, 2)]
    unquoted = fixed.with_dataset(replace(fixed.dataset, sources=(FileSource(prefix="inbox", csv=CsvDialect(quote="")),)))
    assert replay(unquoted).landed == 1
    assert unquoted.rows("station", "temp", "n")[2] == ('"open', 1.0, 2)
    assert_accounted(unquoted)
    warehouse.catalog.close()


def test_a_typed_row_lands_with_the_values_it_had(catalog_url: str, tmp_path: Path) -> None:
    warehouse = LandingWarehouse.at(tmp_path, CSV, url=catalog_url, source=FileSource(prefix="inbox"))
    ts = pa.array([1_359_676_800_123_456, 1_359_763_200_000_000], pa.timestamp("us", tz="Europe/Berlin"))
    table = pa.table(
        {
            "ts": ts,
            "station": ["ä", "\\x41"],
            "temp": [500.25, 600.0],
            "n": pa.array([2**62 + 1, 2], pa.int64()),
            "seen": [True, None],
            "__index_level_0__": [0, 1],
        }
    )
    warehouse.land_one("a.parquet", table)
    fixed = after_mending(warehouse)
    report = replay(fixed)
    # an escape could have been bytes, so that row is not guessed at
    assert (report.records, report.landed) == (1, 1)
    assert fixed.rows("station", "temp", "n", "seen") == [("ä", 500.25, 2**62 + 1, True)]
    assert fixed.rows("ts")[0][0].microsecond == 123_456
    assert [letter.raw is not None and b"__index_level_0__" in letter.raw for letter in fixed.letters()] == [True]
    assert_accounted(fixed)
    warehouse.catalog.close()


def test_naive_times_are_of_the_sources_zone_again(warehouse: LandingWarehouse) -> None:
    source = replace(FILES, timezone="America/New_York")
    there = replace(warehouse, dataset=replace(warehouse.dataset, sources=(source,)), source=source)
    there.land_one("a.jsonl", [{"ts": "2013-02-03 20:00:00", "station": "s", "temp": 300}])
    assert replay(after_mending(there)).partitions == ("2013-02-04",)


def test_a_source_that_is_no_longer_declared_is_a_problem_not_a_guess(warehouse: LandingWarehouse) -> None:
    warehouse.land_one("a.jsonl", lines_of([POISON["failed_check"]]))
    report = replay(after_mending(warehouse, sources=(TOPIC,)))
    assert report.landed == 0
    assert report.problems == {"source files:inbox/**/* is no longer declared, so its settings are not known": 1}


def test_columns_of_a_whole_file_that_no_longer_fit_leave_it_as_it_is(catalog_url: str, tmp_path: Path) -> None:
    warehouse = LandingWarehouse.at(tmp_path, CSV, url=catalog_url, source=FileSource(prefix="inbox"))
    warehouse.land_one("a.csv", "ts,station,temp,Zone\n2013-02-01,x,500,1\n")
    warehouse.land_one("b.csv", "ts,station,temp\n2013-02-01,y,500\n")
    fixed = after_mending(warehouse, schema=Schema(columns=(*mended(CSV).schema.columns, *columns(zone="string?"))))
    report = replay(fixed)
    assert (report.landed, list(report.problems.values())) == (1, [1])
    assert "Zone" in next(iter(report.problems))
    warehouse.catalog.close()


def test_a_reused_key_stays_refused_and_a_used_one_stays_used(warehouse: LandingWarehouse) -> None:
    envelope = '{"idempotencyKey": "k", "ingestion": {"records": [{"ts": "2013-02-03", "station": "s", "temp": 300}]}}\n'
    source = replace(FILES, format="envelopes")
    there = replace(warehouse, dataset=replace(warehouse.dataset, sources=(source,)), source=source)
    there.land_one("a.jsonl", envelope)
    there.land_one("b.jsonl", envelope.replace("300", "301"))
    fixed = after_mending(there)
    assert replay(fixed).landed == 1
    assert fixed.codes() == ["key_reused"]
    assert fixed.land_one("c.jsonl", envelope + "\n").counters == Counters(read=1, duplicates=1)
    assert replay(fixed, code="key_reused").files == 0


def test_the_limit_of_new_columns_holds_for_a_replay(warehouse: LandingWarehouse) -> None:
    values = [f'{{"ts": "2013-02-03", "station": "s", "c{number}": 1}}'.encode() for number in range(5)]
    warehouse.land_one("a.jsonl", lines_of(values))
    fixed = after_mending(warehouse, evolution=Evolution(max_new_columns=2))
    report = replay(fixed)
    assert (report.landed, report.reasons) == (2, {"too_many_columns": 3})
    assert replay(fixed).landed == 0
    assert_accounted(fixed)


def test_a_large_file_goes_in_pieces_whose_segments_are_of_one_schema(
    warehouse: LandingWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staged_dead_letters, "_ROWS_A_PIECE", 3)
    monkeypatch.setattr(replay_records, "_ROWS_A_PIECE", 4)
    extras: list[Any] = [None] * 4 + [1] * 3 + [2.5] * 3 + ["x"] * 2
    records = [{"ts": "2013-02-03", "station": f"s{at}", "temp": 300, "e": extra} for at, extra in enumerate(extras)]
    records[9]["other"] = True
    records[10]["temp"] = None
    records[10]["n"] = 0.5
    warehouse.land_one("a.jsonl", records)
    assert pq.ParquetFile(next((warehouse.root / "data").rglob("*-refused.parquet"))).num_row_groups == 4
    fixed = after_mending(warehouse)
    report = replay(fixed)
    assert (report.files, report.landed, report.reasons) == (1, 11, {"bad_value": 1})
    added = [(change.kind, change.column, change.before, change.after) for change in report.schema_changes]
    assert added == [("column_added", "e", None, "string"), ("column_added", "other", None, "bool")]
    version = fixed.record.schema.version
    segments = fixed.catalog.manifest.segments(fixed.record.id)
    assert {segment.schema_version for segment in segments} == {version}
    assert len(segments) == 4
    assert [row[0] for row in fixed.rows("e")] == [None] * 4 + ["1"] * 3 + ["2.5"] * 3 + ["x"]
    assert_accounted(fixed)


def test_a_declaration_that_cant_be_applied_is_refused_before_anything(warehouse: LandingWarehouse) -> None:
    warehouse.land_one("a.jsonl", lines_of([GOOD, POISON["failed_check"]]))
    with pytest.raises(RefusedError) as refused:
        replay(warehouse.with_dataset(replace(warehouse.dataset, schema=Schema(columns=columns(ts="timestamp")))))
    assert not isinstance(refused.value, ConflictError)
