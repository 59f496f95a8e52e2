"""Requests in flight share a commit; bounds, faults and other processes hit the requests they concern and no others."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from timestore_assets.landing.requests.ingest import GroupCommit, GroupLanders
from timestore_assets.landing.requests.request_queue import BufferFullError, QueueLimits, Waiting
from timestore_assets.landing.requests.submission import Accepted, Answer, KeyReusedError, Landed, Submission
from timestore_assets.landing.topics.backpressure import Backlog
from timestore_assets.model.counters import Counters
from timestore_assets.model.dataset import Evolution, HttpSource
from timestore_assets.model.errors import BadFileError, StorageFullError, UnavailableError
from timestore_assets.segments.publishing import utc_now
from timestore_assets.settings import Settings
from timestore_assets.sources.http.body_formats import BodyContext, MediaType, read_body
from timestore_assets.sources.http.request_body import BodyLimits, RequestBody
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.object_store import Upload
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, columns, dataset

SOURCE = HttpSource()
WEATHER = dataset(sources=(SOURCE,))
LIMITS = BodyLimits(bytes=10_000_000, rows=1_000_000, record_bytes=1 << 20)
BOUNDS = replace(QueueLimits.of(Settings()), linger_seconds=0.0, patience_seconds=0.0)
PATIENCE = 30


class GatedStore(LocalStore):
    """A local store whose writes wait while `gate` is closed, and fail with `fault` when there is one."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, staging_root=root / ".staging")
        self.gate, self.waiting = threading.Event(), threading.Event()
        self.gate.set()
        self.fault: Exception | None = None

    def promote(self, uploads: Sequence[Upload]) -> list[str]:
        self.waiting.set()
        assert self.gate.wait(PATIENCE)
        if self.fault is not None:
            raise self.fault
        return super().promote(uploads)

    @contextmanager
    def closed(self) -> Iterator[None]:
        """While entered, commits wait; what is under way when it begins counts as waiting."""
        self.waiting.clear()
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()


class Landing:
    """Group landers over a warehouse of their own."""

    def __init__(self, root: Path, *, url: str | None = None, **options: Any) -> None:
        self.ground = LandingWarehouse.at(root, options.pop("dataset", WEATHER), url=url)
        self.store = self.ground.store = GatedStore(root / "data")
        self.commits: list[GroupCommit] = []
        chosen: dict[str, Any] = {"bounds": BOUNDS, "noticed": self.commits.append, **options}
        self.landers = GroupLanders(replace(self.ground.context, clock=utc_now), **chosen)
        self._number = 0

    def send(self, body: RequestBody | Sequence[Any], **options: Any) -> Future[Answer]:
        self._number += 1
        made = body if isinstance(body, RequestBody) else cut(json.dumps(body))
        submission = Submission(id=f"{id(self)}-{self._number}", body=made, actor=options.pop("actor", "me"), **options)
        return self.landers.submit(self.ground.dataset, SOURCE, submission)

    def land(self, body: RequestBody | Sequence[Any], **options: Any) -> Landed:
        return landed(self.send(body, **options))

    def busy(self) -> Future[Answer]:
        """A request whose commit is under way; close the gate first."""
        answer = self.send(rows(1, station="busy"))
        assert self.store.waiting.wait(PATIENCE)
        return answer


def cut(text: str | bytes, media_type: MediaType = "application/json") -> RequestBody:
    data = text.encode() if isinstance(text, str) else text
    return read_body(data, media_type, BodyContext(dataset=WEATHER, source=SOURCE, limits=LIMITS))


def rows(count: int, **values: Any) -> list[dict[str, Any]]:
    return [{"ts": "2013-05-01T00:00:00Z", "station": "a", "temp": number, **values} for number in range(count)]


def landed(answer: Future[Answer]) -> Landed:
    found = answer.result(PATIENCE)
    assert isinstance(found, Landed)
    return found


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Landing]]:
    made: list[Landing] = []

    def landing(**options: Any) -> Landing:
        made.append(Landing(tmp_path, **options))
        return made[-1]

    yield landing
    for one in made:
        one.store.gate.set()
        one.landers.close()
        one.ground.catalog.close()


@pytest.fixture
def landing(make: Callable[..., Landing]) -> Landing:
    return make()


class TestGroups:
    def test_what_waits_together_is_one_commit_and_each_gets_its_own_counts(self, landing: Landing) -> None:
        with landing.store.closed():
            first = landing.busy()
            answers = [landing.send([*rows(number), *["bad"] * (number % 3)]) for number in range(1, 8)]
        results = [landed(answer) for answer in answers]
        assert [one.outcome.landed for one in results] == list(range(1, 8))
        assert [one.outcome.dead_letters for one in results] == [number % 3 for number in range(1, 8)]
        assert [[letter.row for letter in one.outcome.refused] for one in results[:2]] == [[1], [2, 3]]
        assert {one.manifest_version for one in results} == {2}
        landing.landers.close()  # a commit is noticed after its answers
        assert [(one.requests, one.rows) for one in landing.commits] == [(1, 1), (7, 28 + 7)]
        assert landed(first).manifest_version == 1
        assert landing.ground.counters() == Counters(read=36, landed=29, dead_letters=7)
        assert len(landing.ground.catalog.manifest.segments(landing.ground.record.id)) == 2

    def test_positions_number_all_records_of_the_session(self, landing: Landing) -> None:
        with landing.store.closed():
            landing.busy()
            answers = [landing.send([*rows(1), 5, *rows(1)]) for _ in range(2)]
        assert [landed(answer).outcome.read for answer in answers] == [3, 3]
        assert [position for _, position in landing.ground.places()] == [0, 1, 3, 4, 6]
        assert [letter.position for letter in landing.ground.letters()] == [2, 5]
        assert [letter.raw for letter in landing.ground.letters()] == [b"5", b"5"]

    def test_forms_that_differ_get_commits_of_their_own(self, landing: Landing) -> None:
        csv = cut("ts,station\n2013-05-01,c\n", "text/csv")
        other = cut("station,ts\nd,2013-05-01\n", "text/csv")
        with landing.store.closed():
            landing.busy()
            answers = [landing.send(body) for body in (csv, rows(1), other, csv, rows(1))]
        assert [landed(answer).outcome.landed for answer in answers] == [1] * 5
        landing.landers.close()  # a commit is noticed after its answers
        assert sorted(one.requests for one in landing.commits[1:]) == [1, 2, 2]
        assert sorted(station for (station,) in landing.ground.rows("station")) == ["a", "a", "busy", "c", "c", "d"]

    def test_a_commit_is_bounded(self, make: Callable[..., Landing]) -> None:
        landing = make(bounds=replace(BOUNDS, commit=Waiting(requests=100, rows=10, bytes=10_000_000)))
        with landing.store.closed():
            landing.busy()
            answers = [landing.send(rows(count)) for count in (4, 4, 4, 25, 1)]
        assert [landed(answer).outcome.landed for answer in answers] == [4, 4, 4, 25, 1]
        landing.landers.close()  # a commit is noticed after its answers
        assert [one.rows for one in landing.commits[1:]] == [8, 4, 25, 1]

    def test_a_column_that_evolves_in_the_middle(self, landing: Landing) -> None:
        with landing.store.closed():
            landing.busy()
            answers = [landing.send(rows(2)), landing.send(rows(2, extra=7)), landing.send(rows(2, extra="x"))]
        assert [landed(answer).outcome.landed for answer in answers] == [2, 2, 2]
        assert landing.ground.record.schema.names[-1] == "extra"

    def test_a_new_declaration_is_used_at_once(self, landing: Landing) -> None:
        assert landing.land([{"ts": "2013-05-01", "station": "a", "n": "x"}]).outcome.landed == 1
        landing.ground.dataset = dataset(*columns(m="int64?"), sources=(SOURCE,))
        assert landing.land(rows(1, m="x")).outcome.refused[0].column == "m"

    def test_the_audit_names_who_sent_it(self, landing: Landing) -> None:
        landing.land(rows(1), actor="token:a")
        with landing.store.closed():
            landing.busy()
            answers = [landing.send(rows(1), actor=actor) for actor in ("token:a", "token:b")]
        assert all(landed(answer).outcome.landed == 1 for answer in answers)
        told = [entry["actor"] for entry in landing.ground.catalog.audit.newest(limit=10) if entry["action"] == "landed"]
        assert told == ["several", "me", "token:a"]


class TestBounds:
    @pytest.mark.parametrize("what", ["requests", "rows", "bytes"])
    def test_what_may_wait(self, make: Callable[..., Landing], what: str) -> None:
        size = {"requests": 1, "rows": 5, "bytes": cut(json.dumps(rows(5))).size}[what]
        limit = replace(BOUNDS.dataset, **{what: 3 * size})
        landing = make(bounds=replace(BOUNDS, dataset=limit))
        with landing.store.closed():
            answers = [landing.send(rows(5))]
            assert landing.store.waiting.wait(PATIENCE)
            answers += [landing.send(rows(5)) for _ in range(2)]
            with pytest.raises(BufferFullError, match=what) as error:
                landing.send(rows(5))
            assert 1 <= error.value.retry_after <= 60
            assert landing.landers.waiting()["weather"].requests == 3
        assert all(landed(answer).outcome.landed == 5 for answer in answers)
        assert landing.land(rows(5)).outcome.landed == 5
        self.nothing_waits(landing)

    def test_all_datasets_together(self, make: Callable[..., Landing]) -> None:
        landing = make(bounds=replace(BOUNDS, total=replace(BOUNDS.total, requests=1)))
        with landing.store.closed():
            first = landing.busy()
            landing.ground.dataset = dataset(name="other", sources=(SOURCE,))
            with pytest.raises(BufferFullError):
                landing.send(rows(1))
        assert landed(first).outcome.landed == 1

    def test_a_backlog_behind_landing(self, make: Callable[..., Landing]) -> None:
        backlog = [Backlog(deltas=5000)]
        landing = make(gauge=lambda _name: backlog[0])
        landing.land(rows(1))
        self.until(lambda: "weather" in landing.landers.paused())
        with pytest.raises(BufferFullError, match="5,000 unbuilt deltas"):
            landing.send(rows(1))
        backlog[0] = Backlog()
        self.until(lambda: not landing.landers.paused())
        assert landing.land(rows(1)).outcome.landed == 1

    def test_a_session_without_requests_ends_and_another_begins(self, make: Callable[..., Landing]) -> None:
        landing = make(bounds=replace(BOUNDS, idle_seconds=0.05))

        def another_has_begun() -> bool:
            landing.land(rows(1))
            time.sleep(0.2)
            return len({source for source, _ in landing.ground.places()}) > 1

        self.until(another_has_begun)

    def test_after_closing(self, landing: Landing) -> None:
        landing.land(rows(1))
        landing.landers.close()
        with pytest.raises(UnavailableError, match="stopping"):
            landing.send(rows(1))

    def test_what_waits_when_it_is_closed_is_landed(self, landing: Landing) -> None:
        with landing.store.closed():
            landing.busy()
            answers = [landing.send(rows(1)) for _ in range(3)]
            closing = threading.Thread(target=landing.landers.close)
            closing.start()
        closing.join(PATIENCE)
        assert [landed(answer).outcome.landed for answer in answers] == [1, 1, 1]

    @staticmethod
    def nothing_waits(landing: Landing) -> None:
        TestBounds.until(lambda: landing.landers.waiting()["weather"] == Waiting())

    @staticmethod
    def until(what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < deadline
            time.sleep(0.01)


class TestFaults:
    @pytest.mark.parametrize("fault", [StorageFullError("no room"), UnavailableError("away")])
    def test_nothing_of_a_failed_commit_lands(self, landing: Landing, fault: Exception) -> None:
        landing.land(rows(1))
        landing.store.fault = fault
        answer = landing.send(rows(3), key="k")
        with pytest.raises(type(fault)):
            answer.result(PATIENCE)
        assert landing.ground.counters() == Counters(read=1, landed=1)
        landing.store.fault = None
        again = landing.land(rows(3), key="k")
        assert (again.repeated, again.outcome.landed) == (False, 3)
        assert landing.ground.counters() == Counters(read=4, landed=4)
        TestBounds.nothing_waits(landing)

    def test_an_accepted_request_that_fails_is_known_to_be_abandoned(self, landing: Landing) -> None:
        landing.store.fault = UnavailableError("away")
        accepted = landing.send(rows(1), asynchronous=True).result(PATIENCE)
        assert isinstance(accepted, Accepted)
        find = landing.ground.catalog.ingestions.find
        TestBounds.until(lambda: (found := find(accepted.id)) is not None and found.state == "abandoned")

    def test_one_body_that_does_not_fit_the_evolved_schema_fails_alone(self, landing: Landing) -> None:
        landing.land(rows(1, extra=1))
        twin = cut("ts,station,Extra\n2013-05-01,a,1\n", "text/csv")
        with landing.store.closed():
            landing.busy()
            bad, good = landing.send(twin), landing.send(rows(2))
        with pytest.raises(BadFileError, match="Extra"):
            bad.result(PATIENCE)
        assert landed(good).outcome.landed == 2

    def test_columns_that_are_refused_are_dead_letters(self, make: Callable[..., Landing]) -> None:
        landing = make(dataset=dataset(sources=(SOURCE,), evolution=Evolution(columns="discard_row")))
        outcome = landing.land([*rows(1), *rows(1, extra=1)]).outcome
        assert (outcome.landed, [one.row for one in outcome.refused]) == (1, [1])


class TestKeysAcrossProcesses:
    @pytest.fixture
    def two(self, make: Callable[..., Landing], catalog_url: str) -> Iterator[tuple[Landing, Landing]]:
        both = make(url=catalog_url), make(url=catalog_url)
        yield both
        for one in both:  # before the database is emptied
            one.landers.close()

    def test_a_key_that_another_process_uses_first(self, two: tuple[Landing, Landing]) -> None:
        """Both have looked the key up before either commits: one lands, the other is answered as repeated."""
        one, other = two
        body = rows(3)
        with one.store.closed(), other.store.closed():
            answers = [landing.send(body, key="k") for landing in two]
            assert all(landing.store.waiting.wait(PATIENCE) for landing in two)
        results = [landed(answer) for answer in answers]
        assert sorted(one.repeated for one in results) == [False, True]
        assert len({result.id for result in results}) == 1
        assert one.ground.counters() == Counters(read=3, landed=3)

    def test_the_others_of_its_group_land(self, two: tuple[Landing, Landing]) -> None:
        one, other = two
        with one.store.closed():
            busy = one.busy()
            answers = [one.send(rows(number), key=f"k{number}") for number in range(1, 6)]
            stolen = other.land(rows(2), key="k2")
            with pytest.raises(KeyReusedError):
                other.send([], key="k2").result(PATIENCE)
            assert landed(other.send(rows(3), key="k3")).outcome.landed == 3
        assert landed(busy).outcome.landed == 1
        results = [landed(answer) for answer in answers]
        assert [result.repeated for result in results] == [False, True, True, False, False]
        assert results[1].id == stolen.id
        assert one.ground.counters() == Counters(read=16, landed=16)

    def test_a_request_that_another_process_has_accepted_is_waited_for(self, two: tuple[Landing, Landing]) -> None:
        one, other = two
        with one.store.closed():
            accepted = one.send(rows(2), key="k", asynchronous=True).result(PATIENCE)
            assert one.store.waiting.wait(PATIENCE)
            waiting = other.send(rows(2), key="k")
            promised = other.send(rows(1), key="free").result(PATIENCE)
            assert isinstance(promised, Landed)
            assert not waiting.done()
        result = landed(waiting)
        assert (result.repeated, result.id) == (True, accepted.id)
        assert one.ground.counters() == Counters(read=3, landed=3)

    def test_the_same_process_waits_for_itself(self, landing: Landing) -> None:
        with landing.store.closed():
            landing.busy()
            answers = [landing.send(rows(2), key="k") for _ in range(3)]
            with pytest.raises(KeyReusedError):
                landing.send(rows(3), key="k")
        assert [landed(answer).repeated for answer in answers] == [False, True, True]


def test_typed_bodies_of_one_schema_share_a_commit(landing: Landing) -> None:
    def body(station: str) -> RequestBody:
        table = pa.table({"ts": ["2013-05-01"], "station": pa.array([station]).dictionary_encode(), "temp": [1.5]})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return cut(bytes(sink.getvalue()), "application/vnd.apache.arrow.stream")

    with landing.store.closed():
        landing.busy()
        answers = [landing.send(body(station)) for station in "xyz"]
    assert [landed(answer).outcome.landed for answer in answers] == [1, 1, 1]
    assert [one.requests for one in landing.commits] == [1, 3]
    assert sorted(station for (station,) in landing.ground.rows("station")) == ["busy", "x", "y", "z"]
