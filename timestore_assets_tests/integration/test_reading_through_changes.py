"""An answer is that of its version, whatever is built, migrated, taken out, let expire and collected while it is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.model.dataset import Dataset, FileSource, HttpSource
from timestore_assets.model.errors import InputError
from timestore_assets.model.question import Question
from timestore_assets.model.retention import Retention
from timestore_assets.model.row_selector import FileRows
from timestore_assets.model.types import quote
from timestore_assets.orchestration.building.loading import load
from timestore_assets.querying.answer import Answer
from timestore_assets.querying.reading.querier import Querier
from timestore_assets.querying.rendering.frames import arrow_table
from timestore_assets.querying.rendering.polars_frames import polars_frame
from timestore_assets.upkeep.collect import collect
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.http_service import HttpService, open_warehouse, serving
from timestore_assets_tests.support.kafka_brokers import EmbeddedKafka
from timestore_assets_tests.support.landing_warehouse import columns, dataset
from timestore_assets_tests.support.migrations import drop, manifest, migrate, rename, transform
from timestore_assets_tests.support.tailing_warehouse import tailing_warehouse
from timestore_assets_tests.support.topic_warehouse import value

FIRST = datetime(2013, 3, 1, tzinfo=UTC)
MORE = columns(code="int64?", note="string?", level="double?")
DATASET = dataset(*MORE, sources=(FileSource(prefix="inbox"), HttpSource()))
NAME = DATASET.name
OPERATIONS = (
    rename("ts", "at"),
    rename("station", "place"),
    rename("temp", "temperature"),
    rename("code", "code_text", expression="concat('c', code)"),
    transform("level", "level + 1000"),
    drop("note"),
)
OLD = ("ts", "station", "temp", "code", "note", "level")
NEW = ("at", "place", "temperature", "code_text", "level")
STATIONS = ("a", "b", "c")
Row = dict[str, Any]


def time_of(day: int, number: int) -> datetime:
    return FIRST + timedelta(days=day, minutes=number)


def old_row(day: int, number: int) -> Row:
    rest = {"temp": number + 0.5, "code": day, "note": f"n{day}", "level": float(number)}
    return {"ts": time_of(day, number), "station": STATIONS[number], **rest}


def new_row(day: int, number: int) -> Row:
    rest = {"temperature": number + 0.5, "code_text": f"c{day}", "level": number + 1000.0}
    return {"at": time_of(day, number), "place": STATIONS[number], **rest}


def old_rows(days: int) -> list[Row]:
    return [old_row(day, number) for day in range(days) for number in range(len(STATIONS))]


def new_rows(days: range, numbers: range) -> list[Row]:
    return [new_row(day, number) for day in days for number in numbers]


def written(folder: Path, name: str, rows: list[Row]) -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({**row, "ts": row["ts"].isoformat()}) + "\n" for row in rows))
    return path


def landed(warehouse: Warehouse, folder: Path, days: int) -> None:
    """Days of three rows: two are built, the even days sealed; the last ones have come since, in a file of their own."""
    rows = old_rows(days)
    warehouse.land(NAME, [written(folder, "first", [row for row in rows if row["station"] != "c"])])
    for close in (True, False):
        parts = [one.partition for one in warehouse.partitions(NAME)][0 if close else 1 :: 2]
        assert {one.outcome for one in warehouse.build(NAME, parts, close=close)} == {"built"}
    warehouse.land(NAME, [written(folder, "second", [row for row in rows if row["station"] == "c"])])


# --- while it is read

Rest = Callable[[], list[Row]]
"""The rest of an answer that was begun, with what was read of it."""
Begin = Callable[[HttpService, ExitStack], Rest]
FIRST_PAGE = 4


def rows_of(answer: Answer) -> list[Row]:
    found: list[Row] = answer.table().to_pylist()
    return found


def from_ask(ground: HttpService, stack: ExitStack) -> Rest:
    answer = stack.enter_context(ground.warehouse.ask(Question(dataset=NAME)))
    batches = answer.batches()
    begun = next(batches).to_pylist()
    return lambda: [*begun, *(row for batch in batches for row in batch.to_pylist())]


def from_question_that_is_not_read_yet(ground: HttpService, stack: ExitStack) -> Rest:
    answer = stack.enter_context(ground.warehouse.ask(Question(dataset=NAME)))
    return lambda: rows_of(answer)


def from_sql(ground: HttpService, stack: ExitStack) -> Rest:
    answer = stack.enter_context(ground.warehouse.sql(f"SELECT * FROM {NAME} ORDER BY 1"))
    return lambda: rows_of(answer)


def from_frame(ground: HttpService, _: ExitStack) -> Rest:
    dataset, record = ground.warehouse.resolve(NAME)
    frame = polars_frame(ground.warehouse.querier, dataset, record)

    def collected() -> list[Row]:
        found = frame.sort(dataset.time).collect()
        assert frame.select("note").collect().height == found.height
        return found.to_dicts()

    return collected


def from_pages(ground: HttpService, stack: ExitStack) -> Rest:
    # a cursor holds no version, so somebody has to
    stack.enter_context(ground.warehouse.ask(Question(dataset=NAME)))
    first = page(ground, FIRST_PAGE)

    def rest() -> list[Row]:
        found, following = list(first["rows"]), first["nextCursor"]
        while following:
            more = page(ground, 1000, cursor=following)
            assert more["columns"] == first["columns"]
            assert more["manifestVersion"] == first["manifestVersion"]
            found, following = [*found, *more["rows"]], more["nextCursor"]
        names = [one["name"] for one in first["columns"]]
        rows = [row if isinstance(row, dict) else dict(zip(names, row, strict=True)) for row in found]
        return [{**row, names[0]: datetime.fromisoformat(row[names[0]])} for row in rows]

    return rest


def page(ground: HttpService, size: int, **more: Any) -> dict[str, Any]:
    answered = ground.client.post(f"/datasets/{NAME}/query", json={"pageSize": size, **more})
    assert answered.status_code == 200, answered.text
    found: dict[str, Any] = answered.json()
    return found


WAYS: dict[str, Begin] = {
    "ask": from_ask,
    "not read yet": from_question_that_is_not_read_yet,
    "sql": from_sql,
    "frame": from_frame,
    "pages": from_pages,
}


def changed(warehouse: Warehouse, folder: Path, days: int) -> list[Row]:
    """Everything that may happen to a dataset while somebody reads it; gives the rows that there are then."""
    half = days // 2
    warehouse.land(NAME, [written(folder, "third", [old_row(day, 0) | {"station": "z"} for day in range(days)])])
    built(warehouse)
    warehouse.migrate(manifest(NAME, *OPERATIONS), actor="ann")
    built(warehouse)
    for name in ("second", "third"):
        warehouse.retract(NAME, FileRows(address=str(folder / f"{name}.jsonl")))
    swept(warehouse)
    built(warehouse)
    warehouse.set_retention(NAME, Retention(max_age=timedelta(days=1)), actor="ann")
    now = FIRST + timedelta(days=half + 1)
    assert len(warehouse.apply_retention(NAME, execute=True, now=now).expired) == half
    swept(warehouse)
    return new_rows(range(half, days), range(2))


def built(warehouse: Warehouse) -> None:
    parts = [one.partition for one in warehouse.partitions(NAME)]
    assert {one.outcome for one in warehouse.build(NAME, parts, close=True)} == {"built"}


def swept(warehouse: Warehouse) -> None:
    warehouse.querier.let_go()
    collect(warehouse.catalog, warehouse.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))


def asked(warehouse: Warehouse) -> list[Row]:
    with warehouse.ask(Question(dataset=NAME)) as answer:
        return rows_of(answer)


@pytest.mark.parametrize(
    ("ways", "days"), [*(((way,), 4) for way in WAYS), pytest.param(tuple(WAYS), 40, marks=pytest.mark.slow)]
)
def test_what_is_read_stays_that_of_its_version(tmp_path: Path, ways: tuple[str, ...], days: int) -> None:
    with open_warehouse(tmp_path / "home", {NAME: DATASET}) as warehouse, serving(warehouse) as ground:
        landed(warehouse, tmp_path, days)
        with ExitStack() as stack:
            rests = {way: WAYS[way](ground, stack) for way in ways}
            now = changed(warehouse, tmp_path, days)
            for way, rest in rests.items():
                assert in_order(rest()) == old_rows(days), way
            assert asked(warehouse) == now
        assert asked(warehouse) == now


def in_order(rows: list[Row]) -> list[Row]:
    assert all(tuple(row) == OLD for row in rows)
    assert [row["ts"] for row in rows] == sorted(row["ts"] for row in rows)
    return rows


def test_a_cursor_whose_version_nobody_held_says_that_it_is_gone(tmp_path: Path) -> None:
    with open_warehouse(tmp_path / "home", {NAME: DATASET}) as warehouse, serving(warehouse) as ground:
        landed(warehouse, tmp_path, 4)
        following = page(ground, FIRST_PAGE)["nextCursor"]
        changed(warehouse, tmp_path, 4)
        answered = ground.client.post(f"/datasets/{NAME}/query", json={"pageSize": FIRST_PAGE, "cursor": following})
        assert answered.status_code == 410, answered.text


# --- while it begins


class CutOver:
    """Commits a migration as another process would, once, just before or just behind a pin."""

    def __init__(self, catalog: Catalog, name: str, *, is_first: bool) -> None:
        self._catalog, self._name, self._is_first = catalog, name, is_first
        self.count = 0

    def on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # statements of SQL share a pin of the newest version, all else claims one
        for name in ("claim", "newest"):
            monkeypatch.setattr(Querier, name, self._racing(getattr(Querier, name)))

    def _racing(self, pinned: Callable[..., Any]) -> Callable[..., Any]:
        def racing(*args: Any, **more: Any) -> Any:
            if self._is_first:
                self._commit()
            pin = pinned(*args, **more)
            self._commit()
            return pin

        return racing

    def _commit(self) -> None:
        if not self.count:
            self.count += 1
            migrate(self._catalog, self._name, *OPERATIONS)


Ask = Callable[[HttpService, tuple[str, ...]], list[Row]]


def by_ask(ground: HttpService, names: tuple[str, ...]) -> list[Row]:
    with ground.warehouse.ask(Question(dataset=NAME, columns=names or None)) as answer:
        return rows_of(answer)


def by_sql(ground: HttpService, names: tuple[str, ...]) -> list[Row]:
    with ground.warehouse.sql(f"SELECT {', '.join(map(quote, names)) or '*'} FROM {NAME} ORDER BY 1, 2") as answer:
        return rows_of(answer)


def by_arrow(ground: HttpService, names: tuple[str, ...]) -> list[Row]:
    dataset, record = ground.warehouse.resolve(NAME)
    found: list[Row] = arrow_table(ground.warehouse.querier, dataset, record, columns=names or None).to_pylist()
    return found


def by_polars(ground: HttpService, names: tuple[str, ...]) -> list[Row]:
    dataset, record = ground.warehouse.resolve(NAME)
    found = polars_frame(ground.warehouse.querier, dataset, record, columns=names or None).collect()
    return found.sort(found.columns[:2]).to_dicts()


def by_http(ground: HttpService, names: tuple[str, ...], **more: Any) -> list[Row]:
    body = {**more, **({"columns": list(names)} if names else {})}
    answered = ground.client.post(f"/datasets/{NAME}/query", json=body)
    if answered.status_code == 422:
        raise InputError(answered.json()["detail"])
    assert answered.status_code == 200, answered.text
    plain = answered.json()
    if plain.get("nextCursor"):
        return [*_rows(plain), *by_http(ground, names, **{**more, "cursor": plain["nextCursor"]})]
    return _rows(plain)


def _rows(plain: dict[str, Any]) -> list[Row]:
    names = [one["name"] for one in plain["columns"]]
    rows = [row if isinstance(row, dict) else dict(zip(names, row, strict=True)) for row in plain["rows"]]
    return [{k: datetime.fromisoformat(v) if k in ("ts", "at") else v for k, v in row.items()} for row in rows]


def by_pages(ground: HttpService, names: tuple[str, ...]) -> list[Row]:
    return by_http(ground, names, pageSize=2)


ASKS: dict[str, Ask] = {
    "ask": by_ask,
    "sql": by_sql,
    "arrow": by_arrow,
    "polars": by_polars,
    "http": by_http,
    "pages": by_pages,
}


@pytest.fixture
def service(tmp_path: Path, catalog_url: str) -> Iterator[HttpService]:
    with (
        open_warehouse(tmp_path / "home", {NAME: DATASET}, catalog_url=catalog_url) as warehouse,
        serving(warehouse) as ground,
    ):
        warehouse.land(NAME, [written(tmp_path, "first", old_rows(2))])
        yield ground


# how a version is pinned differs between the catalogs; what is done with it, each in its own way, does not
ON_BOTH = [("ask", "sqlite"), ("ask", "postgresql"), *((way, "sqlite") for way in ASKS if way != "ask")]


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    ("way", "catalog_url", "is_sealed"),
    [*((*one, True) for one in ON_BOTH), ("ask", "sqlite", False), ("ask", "postgresql", False), ("polars", "sqlite", False)],
    indirect=["catalog_url"],
)
def test_a_cut_over_while_a_question_is_begun_leaves_it_wholly_old_or_wholly_new(
    service: HttpService, monkeypatch: pytest.MonkeyPatch, way: str, is_first: bool, is_sealed: bool
) -> None:
    if is_sealed:
        built(service.warehouse)
    race = CutOver(service.warehouse.catalog, NAME, is_first=is_first)
    race.on(monkeypatch)
    found = ASKS[way](service, ())
    assert race.count == 1
    assert found == (new_rows(range(2), range(3)) if is_first else old_rows(2))


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    ("way", "catalog_url", "names"),
    [*((*one, ("station", "level", "code")) for one in ON_BOTH), ("pages", "sqlite", ("ts", "station", "level"))],
    indirect=["catalog_url"],
)
def test_a_name_that_goes_while_a_question_is_begun_is_answered_or_refused(
    service: HttpService, monkeypatch: pytest.MonkeyPatch, way: str, is_first: bool, names: tuple[str, ...]
) -> None:
    built(service.warehouse)
    race = CutOver(service.warehouse.catalog, NAME, is_first=is_first)
    race.on(monkeypatch)
    if not is_first:
        wanted = [tuple(row[name] for name in names) for row in old_rows(2)]
        assert sorted(tuple(row.values()) for row in ASKS[way](service, names)) == sorted(wanted)
    else:
        with pytest.raises(InputError, match=names[0]):
            ASKS[way](service, names)
    assert race.count == 1


@pytest.mark.parametrize(
    ("way", "catalog_url"),
    [one for one in ON_BOTH if one[0] != "pages"],  # which look at names before, when there is none yet
    indirect=["catalog_url"],
)
def test_a_name_that_comes_while_a_question_is_begun_is_known_by_its_version(
    service: HttpService, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    built(service.warehouse)
    CutOver(service.warehouse.catalog, NAME, is_first=True).on(monkeypatch)
    names = ("at", "place", "level", "code_text")
    wanted = [{name: row[name] for name in names} for row in new_rows(range(2), range(3))]
    assert ASKS[way](service, names) == wanted


@pytest.mark.parametrize("kind", [pa.Table, duckdb.DuckDBPyRelation, pl.DataFrame])
def test_spans_that_are_loaded_together_are_of_one_version(
    service: HttpService, monkeypatch: pytest.MonkeyPatch, kind: type
) -> None:
    warehouse = service.warehouse
    dataset, record = warehouse.resolve(NAME)
    spans = [(time_of(day, 0), time_of(day, len(STATIONS))) for day in range(2)]
    CutOver(warehouse.catalog, NAME, is_first=False).on(monkeypatch)
    with ExitStack() as stack:
        found = load(warehouse.querier, warehouse.limits, dataset, record, spans, kind, stack=stack)
        frame = found.to_arrow_table() if kind is duckdb.DuckDBPyRelation else found
        names = tuple(frame.column_names if isinstance(frame, pa.Table) else frame.columns)
        codes = frame["code"].to_pylist() if isinstance(frame, pa.Table) else frame["code"].to_list()
    assert (names, sorted(codes)) == (OLD, [0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("is_first", [True, False])
def test_records_that_are_not_landed_are_read_by_the_columns_of_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    declared: Dataset = dataset(*MORE)
    more: dict[str, Any] = {"code": 7, "note": "n", "level": 2.0}
    with EmbeddedKafka() as cluster:
        ground = tailing_warehouse(tmp_path, cluster, declared=declared)
        ground.produce([value(0, **more)])
        ground.stream()
        ground.produce([value(1, **more)])
        with ground.hot() as hot:
            hot.wait_for(2)
            before = ground.catalog.datasets.register(ground.dataset, actor="test")
            held = hot.buffers.look(ground.dataset, before)
            race = CutOver(ground.catalog, NAME, is_first=is_first)
            race.on(monkeypatch)
            with hot.querier.ask(ground.dataset, before, Question(dataset=NAME), fresh=held) as answer:
                rows = answer.table().to_pylist()
                assert answer.streaming is not None and answer.streaming.merged_rows == 1
        assert race.count == 1
        assert [tuple(row) for row in rows] == [NEW if is_first else OLD] * 2
        names = ("place", "level", "code_text") if is_first else ("station", "level", "code")
        wanted = ((1002.0, "c7") if is_first else (2.0, 7),) * 2
        assert sorted(tuple(row[name] for name in names) for row in rows) == [(f"S{n}", *wanted[n]) for n in range(2)]
