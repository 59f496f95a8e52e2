"""Files land again, each swapped in at once: for people, for approved requests, and for partitions that were opened again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.landing.files.land_report import FileReport
from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.model.errors import InputError, RefusedError
from timestore_assets.model.question import Question
from timestore_assets.model.retention import Retention
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.http_service import open_warehouse
from timestore_assets_tests.support.landing_warehouse import columns, dataset

WEATHER = dataset(sources=(FileSource(prefix="inbox"),))
TWO_DAYS = "ts,station,temp\n2013-01-01,a,1\n2013-01-02,b,2\n"


@dataclass(frozen=True)
class Ground:
    warehouse: Warehouse
    home: Path

    @property
    def source(self) -> FileSource:
        return self.warehouse.datasets["weather"].file_sources[0]

    def write(self, name: str, text: str) -> Path:
        path = self.home / "inbox" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def land(self, name: str, text: str) -> Path:
        path = self.write(name, text)
        assert self.warehouse.land("weather", [path]).files[0].state == "landed"
        return path

    def stations(self, version: int | None = None) -> list[str]:
        with self.warehouse.ask(Question(dataset="weather", columns=("station",), as_of=version, limit=None)) as answer:
            return sorted(answer.table().column("station").to_pylist())

    def all_versions(self) -> list[list[str]]:
        """What each version shows, the same as the one before left out."""
        record = self.warehouse.resolve("weather")[1]
        shown = [self.stations(version) for version in range(1, self.warehouse.catalog.manifest.version(record.id) + 1)]
        return [now for before, now in zip([None, *shown], shown, strict=False) if now != before]

    def state(self, name: str) -> str:
        record = self.warehouse.resolve("weather")[1]
        known = self.warehouse.catalog.sources.ensure(record.id, self.source.kind, self.source.address)
        found = self.warehouse.catalog.files.at(known.id, name)
        return "" if found is None else found.state

    def declare(self, declared: Dataset) -> None:
        self.warehouse.datasets = {declared.name: declared}


@pytest.fixture
def ground(tmp_path: Path, catalog_url: str) -> Iterator[Ground]:
    with open_warehouse(tmp_path, {WEATHER.name: WEATHER}, catalog_url=catalog_url) as warehouse:
        yield Ground(warehouse, tmp_path)


@pytest.mark.parametrize("built", [False, True], ids=["unbuilt", "built"])
def test_the_same_content_takes_its_own_place_at_once(ground: Ground, built: bool) -> None:
    """I1, I5: every version shows each row once."""
    path = ground.land("a.csv", TWO_DAYS)
    if built:
        list(ground.warehouse.build("weather", [WEATHER.partition(f"2013-01-0{day}") for day in (1, 2)], close=True))
    for _ in range(2):
        report = ground.warehouse.reload_files("weather", [str(path)], actor="ann")
        assert ([one.state for one in report.files], report.counters.landed, report.left) == (["landed"], 2, ())
    assert ground.all_versions() == [["a", "b"]] and ground.state("a.csv") == "landed"
    told = ground.warehouse.catalog.audit.newest()
    assert [one["actor"] for one in told if one["action"] == "file_reload_asked"] == ["ann", "ann"]


class Killed(BaseException):
    """As if the process had ended there."""


class Dies:
    """A listener that ends the process, as it were, when so many batches have landed."""

    def __init__(self, after: int) -> None:
        self._left = after

    def file_started(self, address: str, size_bytes: int) -> None: ...

    def advanced(self, address: str, bytes_read: int, rows: int) -> None:
        self._left -= 1
        if self._left <= 0:
            raise Killed

    def file_done(self, report: FileReport) -> None: ...


def test_one_that_was_killed_shows_the_old_rows_until_whatever_lands_files_has_gone_on(ground: Ground) -> None:
    ground.land("a.csv", "ts,station,temp\n" + "".join(f"2013-01-0{day},s{day},1\n" for day in range(1, 6)))
    before, warehouse = ground.stations(), ground.warehouse
    record = warehouse.resolve("weather")[1]
    known = warehouse.catalog.sources.ensure(record.id, ground.source.kind, ground.source.address)
    warehouse.catalog.file_reloads.ask(known.id, "a.csv", actor="ann")
    file = warehouse.source_files(ground.source).file("a.csv")
    with pytest.raises(Killed):
        warehouse.land_source("weather", ground.source, [file], chunk_rows=1, progress=Dies(3))
    assert (ground.stations(), ground.state("a.csv")) == (before, "landing")
    found = warehouse.unsettled_files("weather", None, None)
    assert warehouse.land_unsettled("weather", found).files[0].state == "landed"
    assert ground.all_versions() == [before]


def test_a_file_that_is_gone_keeps_its_rows_and_is_told(ground: Ground) -> None:
    ground.land("a.csv", TWO_DAYS).unlink()
    report = ground.warehouse.reload_files("weather", ["a.csv"])
    assert report.gone == ("a.csv",) and report.left == ("a.csv is not there any more; its rows stay as they are",)
    assert (ground.stations(), ground.state("a.csv")) == (["a", "b"], "landed")


def test_what_can_not_be_meant_is_refused_and_nothing_changed(ground: Ground) -> None:
    ground.land("a.csv", TWO_DAYS)
    copy = ground.write("b.csv", TWO_DAYS)
    ground.warehouse.land("weather", [copy])
    with pytest.raises(InputError, match="has landed no file 'other"):
        ground.warehouse.reload_files("weather", ["a.csv", "other.csv"])
    with pytest.raises(RefusedError, match=r"b\.csv can't be landed again: .*a\.csv"):
        ground.warehouse.reload_files("weather", ["b.csv"])
    assert ground.state("a.csv") == "landed"


def with_evolution(declared: Dataset, **changes: Any) -> Dataset:
    return replace(declared, evolution=replace(declared.evolution, **changes))


def left_out(ground: Ground) -> None:
    """Two files with values of `gust`, which was left out, and one without; then the declaration wants it, `backfill: auto`."""
    ground.declare(with_evolution(WEATHER, columns="discard_value", backfill="auto"))
    for number, gust in enumerate(("1", "2", "")):
        ground.land(f"{number}.csv", f"ts,station,temp,gust\n2013-01-0{number + 1},s{number},1,{gust}\n")
    wanted = replace(WEATHER, schema=WEATHER.schema.with_columns(*columns(gust="double?")))
    ground.declare(with_evolution(wanted, columns="discard_value", backfill="auto"))


def gusts(ground: Ground) -> dict[str, float | None]:
    with ground.warehouse.ask(Question(dataset="weather", columns=("station", "gust"), limit=None)) as answer:
        return {row["station"]: row["gust"] for row in answer.table().to_pylist()}


def test_an_approved_request_lands_just_the_files_that_had_the_column(ground: Ground) -> None:
    left_out(ground)
    (asked,) = ground.warehouse.backfills("weather")
    assert (asked.backfill.state, asked.summary) == ("approved", "0 of 2 files landed again")
    assert asked.commands == ("timestore reload weather --file 0.csv", "timestore reload weather --file 1.csv")
    (done,) = ground.warehouse.carry_out_reloads("weather")
    assert (done.backfill, done.counters.landed, done.left) == (asked.backfill.id, 2, ())
    assert gusts(ground) == {"s0": 1.0, "s1": 2.0, "s2": None}
    assert ground.warehouse.backfill(asked.backfill.id).backfill.state == "done"
    assert ground.warehouse.carry_out_reloads("weather") == []


def test_a_request_whose_file_is_gone_says_so_and_stays(ground: Ground) -> None:
    left_out(ground)
    ground.warehouse.backfills("weather")
    (ground.home / "inbox" / "0.csv").unlink()
    (done,) = ground.warehouse.carry_out_reloads("weather")
    assert done.left == ("0.csv is not there any more; its rows stay as they are",)
    (still,) = ground.warehouse.backfills("weather")
    assert (still.backfill.state, still.summary) == ("approved", "1 of 2 files landed again")
    assert gusts(ground) == {"s0": None, "s1": 2.0, "s2": None}


@pytest.mark.parametrize(("policy", "states"), [("ask", ["asked"]), ("never", [])])
def test_who_decides_is_what_the_declaration_says(ground: Ground, policy: Any, states: list[str]) -> None:
    ground.declare(with_evolution(WEATHER, columns="discard_value", backfill=policy))
    ground.land("a.csv", "ts,station,temp,gust\n2013-01-01,a,1,5\n")
    wanted = replace(WEATHER, schema=WEATHER.schema.with_columns(*columns(gust="double?")))
    ground.declare(with_evolution(wanted, columns="discard_value", backfill=policy))
    assert [one.backfill.state for one in ground.warehouse.backfills("weather")] == states
    assert ground.warehouse.carry_out_reloads("weather") == [], "nothing is done before it is approved"


def test_what_a_reopened_partition_held_lands_by_the_line_that_is_told(ground: Ground) -> None:
    ground.declare(replace(WEATHER, retention=Retention(max_age=timedelta(days=30))))
    ground.land("a.csv", TWO_DAYS)
    ground.land("b.csv", "ts,station,temp\n2013-01-02,c,1\n")
    ground.warehouse.apply_retention("weather", execute=True)
    assert ground.stations() == []
    reopened = ground.warehouse.reopen("weather", ["2013-01-01"])
    assert ground.warehouse.landed_into("weather", reopened) == ["timestore reload weather --file a.csv"]
    report = ground.warehouse.reload_files("weather", ["a.csv"])
    assert (report.counters.landed, report.counters.dead_letters) == (1, 1), "the other day has expired still"
    assert ground.stations() == ["a"]


def test_a_rollback_names_the_partitions_that_have_expired_since(ground: Ground) -> None:
    ground.declare(replace(WEATHER, retention=Retention(max_age=timedelta(days=30))))
    ground.land("a.csv", TWO_DAYS)
    record = ground.warehouse.resolve("weather")[1]
    version = ground.warehouse.catalog.manifest.version(record.id)
    ground.warehouse.apply_retention("weather", execute=True)
    planned = ground.warehouse.rollback("weather", version, dry_run=True)
    assert planned.expired == ("2013-01-01", "2013-01-02") and planned.partitions == ()
    ground.warehouse.reopen("weather", ["2013-01-02"])
    done = ground.warehouse.rollback("weather", version)
    assert done.expired == ("2013-01-01",) and [one.partition for one in done.partitions] == ["2013-01-02"]
    (told,) = [one for one in ground.warehouse.catalog.audit.newest() if one["action"] == "rolled_back"]
    assert (told["details"]["expired"], told["details"]["expired_count"]) == (["2013-01-01"], 1)
    assert ground.stations() == ["b"]
