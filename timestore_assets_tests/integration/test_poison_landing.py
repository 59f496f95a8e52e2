"""An error of any foreign class while one record, file or request is judged costs that one, and no other."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from timestore_assets.catalog.commit_values import Span
from timestore_assets.decoding.rejections import RowMask
from timestore_assets.landing.committing.staged_dead_letters import write_dead_letters
from timestore_assets.landing.committing.staged_segments import Provenance
from timestore_assets.landing.preparing.prepare import Rules, prepare
from timestore_assets.landing.preparing.validate import Validator
from timestore_assets.landing.requests.ingest import GroupLanders
from timestore_assets.landing.requests.request_queue import QueueLimits
from timestore_assets.landing.requests.submission import Answer, Landed, Submission
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import HttpSource
from timestore_assets.model.errors import BadFileError, StorageFullError, UnavailableError
from timestore_assets.model.position import START, Position
from timestore_assets.segments.engine import Engine
from timestore_assets.segments.publishing import utc_now
from timestore_assets.settings import Settings
from timestore_assets.sources.folders import LocalFolder
from timestore_assets.sources.http.body_formats import BodyContext, read_body
from timestore_assets.sources.http.request_body import BodyLimits
from timestore_assets_tests.support.dead_letter_replays import (
    FILES,
    TOPIC,
    land_topic,
    lines_of,
    mended,
    offsets,
    replay,
    topic_batch,
)
from timestore_assets_tests.support.landing_warehouse import NOW, LandingWarehouse, dataset
from timestore_assets_tests.support.poison_errors import FOREIGN, MARK, PLACES, UnheardOfError, raising

WEATHER = dataset(sources=(FILES, TOPIC))
HTTP = HttpSource()
SPAN = Span(source_partition_id=1, start=START, end=Position(offset=1))


def record(station: str, **more: Any) -> bytes:
    return json.dumps({"ts": "2013-05-01T00:00:00Z", "station": station, "temp": 1.5, **more}).encode()


MIXED = [record("good 1"), record("good 2"), record(MARK, extra=1), record("good 3")]


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[LandingWarehouse]:
    made = LandingWarehouse.at(tmp_path, WEATHER)
    yield made
    made.catalog.close()


def test_every_foreign_class_at_every_step_of_judging_refuses_the_guilty_record_alone(warehouse: LandingWarehouse) -> None:
    record_of = warehouse.catalog.datasets.register(WEATHER, actor="test")
    rules = Rules(
        dataset=WEATHER,
        schema=record_of.schema,
        validator=Validator(WEATHER),
        zone=None,
        now=NOW,
        allowance=lambda: 10,
        known_keys=lambda _: {},
    )
    steps = [name for name in PLACES if name not in ("write", "coerce")]
    with closing(Engine(warehouse.limits)) as engine:
        # each class at one step and each step with many classes: the steps don't look at the class
        for error, step in zip(FOREIGN, itertools.cycle(steps), strict=False):
            batch = topic_batch(offsets([record("good 1"), record(MARK, extra=1)]), {0: 1})
            with raising(PLACES[step], error):
                prepared = prepare(engine.run, batch, rules)
            (refused,) = prepared.row_mask.refused().to_pylist()
            assert (refused["row"], refused["code"]) == (1, "undecodable"), (step, error)
            assert type(error).__name__ in refused["reason"]
            assert prepared.counters == Counters(read=2, landed=1, dead_letters=1)


@pytest.mark.parametrize("step", [name for name in PLACES if name != "coerce"])
def test_a_record_of_a_file(warehouse: LandingWarehouse, step: str) -> None:
    with raising(PLACES[step], UnheardOfError("nobody knows it")):
        report = warehouse.land(warehouse.drop("a.jsonl", lines_of(MIXED)), warehouse.drop("b.jsonl", record("good 4") + b"\n"))
    assert [file.state for file in report.files] == ["landed", "landed"]
    assert sorted(warehouse.rows("station")) == [("good 1",), ("good 2",), ("good 3",), ("good 4",)]
    (letter,) = warehouse.letters()
    assert (letter.code, letter.raw) == ("undecodable", MIXED[2])
    assert letter.reason == "the record can't be judged (UnheardOfError: nobody knows it)"
    assert warehouse.counters() == Counters(read=5, landed=4, dead_letters=1)


def test_a_row_of_a_csv_file(warehouse: LandingWarehouse) -> None:
    text = f"ts,station,temp\n2013-05-01,good 1,1\n2013-05-01,{MARK},2\n2013-05-01,good 2,3\n"
    with raising(PLACES["coerce"], duckdb.InternalException("made for a test")):
        report = warehouse.land(warehouse.drop("a.csv", text))
    assert report.counters == Counters(read=3, landed=2, dead_letters=1)
    assert warehouse.letters()[0].raw == f"2013-05-01,{MARK},2".encode()


def _of_guilty(given: Sequence[Any]) -> bool:
    return any("guilty" in str(getattr(one, "name", "")) or "guilty" in str(getattr(one, "file", "")) for one in given)


@pytest.mark.parametrize(
    "place",
    [
        "timestore_assets.sources.files.input_file.LocalFile.identify",
        "timestore_assets.landing.files.part_job.sniff",
        "timestore_assets.landing.files.part_job.open_reader",
        "timestore_assets.sources.files.open_reader._text_reader",
        "timestore_assets.sources.files.open_reader.FileReader.batches",
    ],
)
def test_a_file_that_cannot_be_opened_or_read_is_quarantined_and_the_others_land(warehouse: LandingWarehouse, place: str) -> None:
    files = [warehouse.drop(name, record(name) + b"\n") for name in ("a.jsonl", "guilty.jsonl", "z.jsonl")]
    for error in (UnheardOfError("nobody knows it"), duckdb.FatalException("x"), AssertionError(), StopIteration()):
        with raising(place, error, when=_of_guilty):
            report = warehouse.land(*files)
        states = {file.address: file.state for file in report.files}
        assert states["guilty.jsonl"] == "quarantined"
        assert "guilty.jsonl holds what can't be read (" in next(file.reason for file in report.files if "guilty" in file.address)
    assert warehouse.rows("station") == [("a.jsonl",), ("z.jsonl",)]
    assert warehouse.land(*files).files[1].state == "landed"  # once it is no longer in the way


def test_a_disk_that_is_full_still_ends_the_landing(warehouse: LandingWarehouse) -> None:
    with raising(PLACES["write"], StorageFullError("no room left")), pytest.raises(StorageFullError):
        warehouse.land(warehouse.drop("a.jsonl", lines_of(MIXED)))
    assert warehouse.letters() == []


@pytest.mark.parametrize("step", ["decode", "documents", "constraints", "evolution", "write"])
def test_a_message_of_a_topic(warehouse: LandingWarehouse, step: str) -> None:
    with raising(PLACES[step], KeyError("nobody knows it")):
        counters = land_topic(warehouse, offsets(MIXED))
    assert counters == Counters(read=4, landed=3, dead_letters=1)
    assert [(letter.code, letter.position) for letter in warehouse.letters()] == [("undecodable", 2)]


def test_a_dead_letter_that_is_replayed(warehouse: LandingWarehouse) -> None:
    with raising(PLACES["decode"], UnheardOfError("at first")):
        warehouse.land(warehouse.drop("a.jsonl", lines_of(MIXED)))
    with raising(
        "timestore_assets.landing.dead_letters.replay_file.batch_again",
        UnheardOfError("again"),
        when=lambda given: len(given[1]) > 0,
    ):
        report = replay(warehouse)
    assert (report.landed, report.reasons) == (0, {"undecodable": 1})
    with raising(PLACES["evolution"], UnheardOfError("again")):
        assert replay(warehouse).reasons == {"undecodable": 1}
    assert replay(warehouse.with_dataset(mended(WEATHER))).landed == 1
    assert warehouse.counters() == Counters(read=4, landed=4)


def test_a_record_that_cannot_even_be_rendered_says_so(warehouse: LandingWarehouse) -> None:
    def raw(index: int) -> bytes:
        raise UnheardOfError(f"row {index}")

    batch = replace(topic_batch(offsets([b"no json"]), {0: 1}), raw=raw)
    row_mask = RowMask(1)
    row_mask.refuse(np.array([0]), code="bad_json", reason="it is none")
    provenance = Provenance(source_id=1, session_id=1, spans=(SPAN,), attempt="a")
    (staged,) = write_dead_letters(
        batch, row_mask, dataset=WEATHER, source="a", provenance=provenance, folder=warehouse.root, now=NOW
    )
    (row,) = pq.read_table(staged.upload.staged).to_pylist()
    assert (row["raw"], row["is_prefix"]) == (b"(the record can't be shown: UnheardOfError: row 0)", True)


class Requests:
    """Group landers whose requests wait until all are there."""

    def __init__(self, warehouse: LandingWarehouse) -> None:
        self._ground = warehouse
        bounds = replace(QueueLimits.of(Settings()), linger_seconds=0.2, patience_seconds=0.0)
        self.landers = GroupLanders(replace(warehouse.context, clock=utc_now), bounds=bounds, noticed=lambda _: None)
        self._numbers = itertools.count()

    def send(self, *stations: str) -> Future[Answer]:
        limits = BodyLimits(bytes=1 << 20, rows=1_000, record_bytes=1 << 20)
        data = json.dumps([json.loads(record(station)) for station in stations]).encode()
        body = read_body(data, "application/json", BodyContext(dataset=self._ground.dataset, source=HTTP, limits=limits))
        submission = Submission(id=f"{next(self._numbers)}", body=body, actor="me")
        return self.landers.submit(self._ground.dataset, HTTP, submission)


@pytest.fixture
def requests(tmp_path: Path) -> Iterator[Callable[[], Requests]]:
    made: list[tuple[LandingWarehouse, Requests]] = []

    def make() -> Requests:
        warehouse = LandingWarehouse.at(tmp_path, dataset(sources=(HTTP,)))
        made.append((warehouse, Requests(warehouse)))
        return made[-1][1]

    yield make
    for warehouse, one in made:
        one.landers.close()
        warehouse.catalog.close()


def answers(futures: Sequence[Future[Answer]]) -> list[Any]:
    return [future.exception(30) or future.result() for future in futures]


def test_a_record_of_a_request_is_refused_and_all_other_requests_land(requests: Callable[[], Requests]) -> None:
    sender = requests()
    for step in ("decode", "constraints", "write"):
        with raising(PLACES[step], UnheardOfError("nobody knows it")):
            found = answers([sender.send("good"), sender.send("good", MARK), sender.send("good")])
        assert [(one.outcome.landed, one.outcome.dead_letters) for one in found] == [(1, 0), (1, 1), (1, 0)]
        assert found[1].outcome.refused[0].code == "undecodable"
    assert sender.landers.are_alive


def test_a_request_that_cannot_be_joined_is_refused_and_all_others_land(requests: Callable[[], Requests]) -> None:
    sender = requests()
    place = "timestore_assets.landing.requests.group_session.join"
    for error in (UnheardOfError("nobody knows it"), duckdb.InternalException("x"), OverflowError()):
        with raising(place, error):
            found = answers([sender.send("good"), sender.send(MARK), sender.send("good")])
        assert [isinstance(one, Landed) for one in found] == [True, False, True]
        assert isinstance(found[1], BadFileError)
        assert type(error).__name__ in str(found[1])
    assert sender.landers.are_alive
    assert isinstance(answers([sender.send("later")])[0], Landed)


def test_whatever_ends_a_turn_the_thread_takes_the_next(requests: Callable[[], Requests]) -> None:
    sender = requests()
    with raising("timestore_assets.landing.requests.request_worker.sort_by_key", MemoryError(), when=lambda _: True):
        (failure,) = answers([sender.send("good")])
    assert isinstance(failure, UnavailableError)
    assert isinstance(answers([sender.send("good")])[0], Landed)


def odd_file(**more: Any) -> pa.Table:
    """Two rows that are fine and one that is refused for its temperature, with an odd column beside."""
    return pa.table(
        {
            "ts": pa.array([1_370_000_000_000_000] * 3).cast(pa.timestamp("us")),
            "station": ["a", "b", "c"],
            "temp": [1.0, 2.0, 999.0],
            **more,
        }
    )


ODD: dict[str, Any] = {
    "infinity": pa.array([0, 1, 2**63 - 1]).view(pa.timestamp("us")),
    "far_date": pa.array([0, 1, 2**31 - 1], pa.int32()).view(pa.date32()),
    "far_clock": pa.array([0, 1, 10**15]).view(pa.time64("us")),
    "far_duration": pa.array([0, 1, 2**63 - 1]).view(pa.duration("s")),
    "fine_clock": pa.array([0, 1, 1001]).view(pa.time64("ns")),
    "zone": pa.array([0, 1, 2]).view(pa.timestamp("us", "Mars/Phobos")),
    "wide": pa.array([1, 2, 3]).cast(pa.decimal256(76, 38)),
    "wide_list": pa.array([[1], None, [3]], pa.list_(pa.int64())).cast(pa.list_(pa.decimal256(70, 2))),
    "twins": pa.StructArray.from_arrays([pa.array([1, 2, 3]), pa.array([4, 5, 6])], ["a", "a"]),
    "map": pa.array([[("a", 1)], [("a", 1), ("a", 2)], []], pa.map_(pa.string(), pa.int64())),
    "half": pa.array([1, 2, 3], pa.float32()).cast(pa.float16()),
}


def test_odd_values_land_or_are_refused_with_their_row(warehouse: LandingWarehouse) -> None:
    files = [warehouse.drop(f"{name}.parquet", odd_file(**{name: values})) for name, values in ODD.items()]
    report = warehouse.land(*files)
    assert {file.address: (file.state, file.counters.landed) for file in report.files} == {
        f"{name}.parquet": ("landed", 2) for name in ODD
    }
    assert warehouse.codes() == ["failed_check"] * len(ODD)
    assert all(json.loads(letter.raw or b"")["station"] == "c" for letter in warehouse.letters())


def test_a_time_beyond_the_calendar_refuses_its_row_alone(warehouse: LandingWarehouse) -> None:
    table = odd_file().set_column(
        0, "ts", pa.array([1_370_000_000_000_000, 2**63 - 1, 253402300800000000]).view(pa.timestamp("us"))
    )
    assert warehouse.land_one("a.parquet", table).counters == Counters(read=3, landed=1, dead_letters=2)
    assert warehouse.codes() == ["bad_value", "bad_value"]


def test_files_whose_names_are_no_text_land_like_all_others(warehouse: LandingWarehouse) -> None:
    for name in (b"caf\xe9.jsonl", b"good.jsonl"):
        Path(os.fsdecode(os.fsencode(warehouse.inbox) + b"/" + name)).write_bytes(record(name.decode("latin-1")) + b"\n")
    found = LocalFolder(source=warehouse.source, folder=warehouse.inbox)
    listed = found.listing(NOW, NOW).files
    files = [found.file(one.address) for one in listed]
    report = warehouse.lander().land_files(warehouse.dataset, warehouse.source, files, actor="test")
    assert [(file.address, file.state) for file in report.files] == [("caf\\xe9.jsonl", "landed"), ("good.jsonl", "landed")]
    assert list(found.unsettled(NOW, NOW + timedelta(1), lambda names: warehouse.catalog.files.settled_etags(1, names))) == []
