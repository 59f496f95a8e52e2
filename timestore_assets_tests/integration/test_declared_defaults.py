"""Columns that are declared with a default or an expression: rows of before have it, and those that land after."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from timestore_assets.declaration.from_yaml import parse_declaration
from timestore_assets.model.dataset import Dataset, Evolution
from timestore_assets.model.errors import DeclarationError, RefusedError
from timestore_assets.model.question import Question
from timestore_assets.model.schema import Column, ColumnDefault
from timestore_assets.model.types import INT64, STRING, parse_type
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.http_service import open_warehouse
from timestore_assets_tests.support.landing_warehouse import columns, dataset
from timestore_assets_tests.support.migrations import add, drop, manifest, rename

OLD_FILE = dataset(*columns(a="int64?", b="int64?"))
NAME, DAY = OLD_FILE.name, "2013-03-01"
X = Column(name="x", type=INT64, default=ColumnDefault(value=0))
TOTAL = Column(name="total", type=INT64, nullable=True, default=ColumnDefault(expression="a + b"))


def with_columns(*more: Column, of: Dataset = OLD_FILE, **changes: Any) -> Dataset:
    return replace(of, schema=replace(of.schema, columns=(*of.schema.columns, *more)), **changes)


NEW_FILE = with_columns(X, TOTAL)


def written(folder: Path, name: str, **records: dict[str, Any]) -> Path:
    """A file with a record for each station."""
    path = folder / f"{name}.jsonl"
    lines = [{"ts": f"{DAY}T00:00:00Z", "station": station, **more} for station, more in records.items()]
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return path


def rows(warehouse: Warehouse, *names: str) -> dict[str, tuple[Any, ...]]:
    with warehouse.ask(Question(dataset=NAME, columns=("station", *names))) as answer:
        return {row[0]: tuple(row[1:]) for row in (tuple(one.values()) for one in answer.table().to_pylist())}


def build(warehouse: Warehouse) -> str:
    return next(iter(warehouse.build(NAME, [OLD_FILE.partition(DAY)], close=True))).outcome


@pytest.fixture
def old(tmp_path: Path, catalog_url: str) -> Iterator[Warehouse]:
    """Of a process with the file of before, in whose data `x` was found."""
    with open_warehouse(tmp_path, {NAME: OLD_FILE}, catalog_url=catalog_url) as warehouse:
        warehouse.land(NAME, [written(tmp_path, "first", with_x={"x": 5, "a": 1}, without={"a": 1, "b": 2})])
        yield warehouse


def test_rows_of_before_and_after_have_the_default_where_they_have_no_value(
    old: Warehouse, tmp_path: Path, catalog_url: str
) -> None:
    assert rows(old, "x") == {"with_x": (5,), "without": (None,)}
    with open_warehouse(tmp_path, {NAME: NEW_FILE}, catalog_url=catalog_url) as new:
        assert rows(new, "x", "total") == {"with_x": (5, None), "without": (0, 3)}
        later = {"none": {"a": 2, "b": 2}, "null": {"x": None}, "own": {"x": 7, "total": 1}}
        new.land(NAME, [written(tmp_path, "second", **later)])
        csv = tmp_path / "third.csv"
        csv.write_text(f"ts,station,a,b\n{DAY}T00:00:00Z,csv,3,4\n")
        old.land(NAME, [csv])
        assert old.resolve(NAME)[0].is_behind
        assert not new.resolve(NAME)[0].is_behind
        expected = {"with_x": (5, None), "without": (0, 3), "none": (0, 4), "null": (0, None), "own": (7, 1), "csv": (0, 7)}
        assert rows(old, "x", "total") == rows(new, "x", "total") == expected
        assert build(old) == "built"
        assert rows(new, "x", "total") == expected


def test_the_declaration_is_one_migration_that_asks_for_one_backfill_however_many_register_it(
    old: Warehouse, tmp_path: Path, catalog_url: str
) -> None:
    before = old.resolve(NAME)[1].schema.version
    file = replace(NEW_FILE, evolution=Evolution(backfill="auto"))
    with ThreadPoolExecutor(3) as pool:
        versions = list(pool.map(lambda _: register(tmp_path, catalog_url, file), range(3)))
    assert set(versions) == {before + 1}
    (done,) = old.migrations(NAME)
    assert (done.ticket, [one["column"] for one in done.changes]) == ("declaration", ["x", "total"])
    (request,) = old.catalog.backfills.listed()
    assert (request.cause["columns"], request.state) == (["total", "x"], "approved")


def register(home: Path, catalog_url: str, file: Dataset) -> int:
    with open_warehouse(home, {NAME: file}, catalog_url=catalog_url) as warehouse:
        return warehouse.resolve(NAME)[1].schema.version


@pytest.mark.parametrize("merges", [(True, False, False), (False, True, False), (True, True, True)])
def test_rows_merged_before_or_after_the_declaration_have_the_same_content(tmp_path: Path, merges: tuple[bool, ...]) -> None:
    """I4: rows are filled by value, never by absence."""
    files = (
        written(tmp_path, "none", one={"a": 1, "b": 1}),
        written(tmp_path, "some", two={"a": 1, "b": 2, "x": 3}, three={"x": None}),
        written(tmp_path, "all", four={"a": 5, "x": 4, "total": 0}),
    )
    hashes = set()
    for number, merged in enumerate((merges, (False, False, False))):
        home = tmp_path / str(number)
        with open_warehouse(home, {NAME: OLD_FILE}) as warehouse:
            for file, now in zip(files, merged, strict=True):
                warehouse.land(NAME, [file])
                if now:
                    build(warehouse)
        with open_warehouse(home, {NAME: NEW_FILE}) as warehouse:
            assert rows(warehouse, "x", "total") == {"one": (0, 2), "two": (3, 3), "three": (0, None), "four": (4, 0)}
            build(warehouse)
            (partition,) = warehouse.partitions(NAME)
            assert partition.schema_version == warehouse.resolve(NAME)[1].schema.version
            hashes.add(partition.content_hash)
    assert len(hashes) == 1
    assert hashes != {None}


def test_a_dataset_without_rows_has_its_defaults_from_the_first_record_on(tmp_path: Path, catalog_url: str) -> None:
    with open_warehouse(tmp_path, {NAME: NEW_FILE}, catalog_url=catalog_url) as warehouse:
        assert warehouse.resolve(NAME)[1].schema.version == 1
        warehouse.land(NAME, [written(tmp_path, "first", one={"a": 1, "b": 2}, two={"x": 4})])
        assert rows(warehouse, "x", "total") == {"one": (0, 3), "two": (4, None)}
        assert not warehouse.migrations(NAME)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (with_columns(replace(X, default=ColumnDefault(value=1)), TOTAL), "filled by `default: 0`, which must stay"),
        (with_columns(X, replace(TOTAL, default=ColumnDefault(expression="a"))), "filled by `expression: a \\+ b`"),
        (
            with_columns(
                X, TOTAL, of=dataset(columns(a="int64?")[0], replace(columns(b="int64")[0], default=ColumnDefault(value=1)))
            ),
            "'b' is declared already, so its rows have what they have",
        ),
    ],
)
def test_another_default_is_refused_once_rows_were_filled(
    old: Warehouse, tmp_path: Path, catalog_url: str, file: Dataset, message: str
) -> None:
    assert register(tmp_path, catalog_url, NEW_FILE)
    with pytest.raises(RefusedError, match=message):
        register(tmp_path, catalog_url, file)
    assert rows(old, "x") == {"with_x": (5,), "without": (0,)}


def test_a_found_column_whose_values_might_not_fit_is_left_to_a_migration(
    old: Warehouse, tmp_path: Path, catalog_url: str
) -> None:
    text = Column(name="x", type=STRING, nullable=True, default=ColumnDefault(value="none"))
    with pytest.raises(RefusedError, match="was found in the data as int64, and declared with a default as string"):
        register(tmp_path, catalog_url, with_columns(text))
    wider = Column(name="x", type=parse_type("decimal(20,1)"), nullable=True, default=ColumnDefault(value="0.5"))
    register(tmp_path, catalog_url, with_columns(wider))
    assert rows(old, "x") == {"with_x": (Decimal(5),), "without": (Decimal("0.5"),)}


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("a + nothing", "has no column 'nothing'"),
        ("now()", "something else each time"),
        ("x + 1", "reads 'x', which was found in the data; declare that column too"),
        ("sum(a)", "is over many rows"),
    ],
)
def test_an_expression_that_cannot_be_meant_is_refused_with_its_key(
    old: Warehouse, tmp_path: Path, catalog_url: str, expression: str, message: str
) -> None:
    version = old.resolve(NAME)[1].schema.version
    wrong = replace(TOTAL, default=ColumnDefault(expression=expression))
    with pytest.raises(DeclarationError, match=message) as error:
        register(tmp_path, catalog_url, with_columns(wrong))
    assert error.value.key == "columns.total.expression"
    assert old.catalog.datasets.find(NAME) is not None
    assert old.resolve(NAME)[1].schema.version == version


def test_a_declared_expression_follows_renames_and_ends_with_what_it_reads(
    old: Warehouse, tmp_path: Path, catalog_url: str
) -> None:
    with open_warehouse(tmp_path, {NAME: NEW_FILE}, catalog_url=catalog_url) as new:
        done = new.migrate(manifest(NAME, rename("a", "base")), actor="ann")
        assert done.tried is not None
        assert any("total" in line and "(base + b)" in line for line in done.tried.lines), done.tried.lines
        new.land(NAME, [written(tmp_path, "renamed", renamed={"base": 1, "b": 4}, former={"a": 2, "b": 4})])
        assert rows(new, "total") == {"with_x": (None,), "without": (3,), "renamed": (5,), "former": (6,)}
        done = new.migrate(manifest(NAME, drop("b")), actor="ann")
        assert done.tried is not None
        assert any("computed from 'b'" in note for note in done.tried.notes)
        new.land(NAME, [written(tmp_path, "dropped", dropped={"base": 1})])
        assert rows(new, "x", "total")["dropped"] == (0, None)
        assert rows(new, "total")["without"] == (3,)


def test_what_a_migration_added_with_a_default_may_be_declared_so(old: Warehouse, tmp_path: Path, catalog_url: str) -> None:
    old.migrate(manifest(NAME, add("x", "int64", default=0), add("level", "int64", default=3)), actor="ann")
    version = old.resolve(NAME)[1].schema.version
    level = Column(name="level", type=INT64, nullable=True, default=ColumnDefault(value=3))
    file = with_columns(replace(X, nullable=True), level)
    assert register(tmp_path, catalog_url, file) == version
    other = with_columns(replace(X, nullable=True), replace(level, default=ColumnDefault(value=4)))
    with pytest.raises(RefusedError, match="filled by `default: 3`"):
        register(tmp_path, catalog_url, other)


def test_a_column_that_was_left_out_is_asked_for_again_although_it_has_a_default(tmp_path: Path) -> None:
    strict = replace(OLD_FILE, evolution=Evolution(columns="discard_value"))
    with open_warehouse(tmp_path, {NAME: strict}) as warehouse:
        warehouse.land(NAME, [written(tmp_path, "first", one={"x": 5})])
    with open_warehouse(tmp_path, {NAME: with_columns(X, of=strict)}) as warehouse:
        assert rows(warehouse, "x") == {"one": (0,)}
        (wanted,) = warehouse.catalog.datasets.wanted_reloads(warehouse.resolve(NAME)[1].id)
        assert wanted["values"] == {"x": 1}


def test_a_declared_default_is_taken_back_as_a_migration_is(old: Warehouse, tmp_path: Path, catalog_url: str) -> None:
    before = old.resolve(NAME)[1].schema.version
    with open_warehouse(tmp_path, {NAME: NEW_FILE}, catalog_url=catalog_url) as new:
        old.restore_schema(NAME, before, may_null=True, actor="ann")
        assert new.resolve(NAME)[0].is_behind
        assert rows(new, "x") == {"with_x": (5,), "without": (None,)}


YAML = """
type: timestore_assets.Dataset
attributes:
  name: weather
  columns: {ts: timestamp, station: string, temp: {type: double, nullable: true, le: 140, ge: -60}, %s}
  time: ts
  start: 2013-01-01
"""


@pytest.mark.parametrize(
    ("column", "default"),
    [
        ("x: {type: int64, default: 0}", ColumnDefault(value=0)),
        ("x: {type: double, default: 1}", ColumnDefault(value=1.0)),
        ("x: {type: bool, default: false}", ColumnDefault(value=False)),
        ("x: {type: date, default: 2024-02-03}", ColumnDefault(value="2024-02-03")),
        ("x: {type: timestamp, default: 2024-02-03}", ColumnDefault(value="2024-02-03T00:00:00Z")),
        ("x: {type: 'decimal(9,2)', default: '1.50'}", ColumnDefault(value="1.50")),
        ("x: {type: string, default: '', nullable: true}", ColumnDefault(value="")),
        ("x: {type: double, nullable: true, expression: temp * 2}", ColumnDefault(expression="temp * 2")),
    ],
)
def test_a_default_is_declared_in_a_file_kept_in_the_catalog_and_filled(
    tmp_path: Path, column: str, default: ColumnDefault
) -> None:
    declared = parse_declaration(YAML % column, file="defs.yaml")
    assert declared.schema.column("x").default == default
    plain = replace(OLD_FILE, schema=replace(declared.schema, columns=declared.schema.columns[:3]))
    with open_warehouse(tmp_path, {NAME: plain}) as warehouse:
        warehouse.land(NAME, [written(tmp_path, "first", one={"temp": 2})])
    with open_warehouse(tmp_path, {NAME: declared}) as warehouse:
        assert warehouse.resolve(NAME)[1].schema.column("x").default == default
        warehouse.land(NAME, [written(tmp_path, "second", two={"temp": 2})])
        one, two = rows(warehouse, "x")["one"], rows(warehouse, "x")["two"]
        assert one == two != (None,)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("x: {type: int64, default: no}", "columns.x.default: is False, which is no int64"),
        ("x: {type: int64, default: 1, ge: 2}", "columns.x.default: is 1, which the column's own `ge` refuses"),
        ("x: {type: 'list<int64>', default: 1}", "use `expression`"),
        ("x: {type: int64, expression: temp}", "write `nullable: true` too"),
        ("x: {type: int64, nullable: true, expression: temp, default: 1}", "write one of them"),
    ],
)
def test_a_default_that_cannot_be_meant_is_refused_where_it_stands(column: str, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        parse_declaration(YAML % column, file="defs.yaml")


def test_a_key_has_no_default() -> None:
    text = YAML % "code: {type: string, default: none}" + "  partition_by: [code]\n"
    with pytest.raises(DeclarationError, match=r"columns\.code\.default: is of a column that rows are placed or told apart by"):
        parse_declaration(text, file="defs.yaml")


def test_a_declaration_over_http_fills_and_is_brought_along_by_a_migration(tmp_path: Path) -> None:
    attributes: dict[str, Any] = {
        "columns": {"ts": "timestamp", "station": "string", "a": {"type": "int64", "nullable": True}},
        "time": "ts",
        "start": "2013-01-01",
    }
    with open_warehouse(tmp_path, {"other": replace(OLD_FILE, name="other")}) as warehouse:
        warehouse.declare(NAME, attributes, actor="ann")
        warehouse.land(NAME, [written(tmp_path, "first", one={"a": 3}, two={"x": 1})])
        double = {"type": "int64", "nullable": True, "expression": "a * 2"}
        more = {**attributes["columns"], "x": {"type": "int64", "default": 0}, "double": double}
        warehouse.declare(NAME, {**attributes, "columns": more}, actor="ann")
        assert rows(warehouse, "x", "double") == {"one": (0, 6), "two": (1, None)}
        with pytest.raises(RefusedError, match="which must stay"):
            warehouse.declare(NAME, {**attributes, "columns": {**more, "x": {"type": "int64", "default": 1}}}, actor="ann")
        warehouse.migrate(manifest(NAME, rename("a", "base")), actor="ann")
        (stored,) = warehouse.catalog.declarations.listed()
        assert stored.attributes["columns"]["double"] == {**double, "expression": "(base * 2)"}
        assert stored.attributes["columns"]["x"] == {"type": "int64", "default": 0}
        warehouse.land(NAME, [written(tmp_path, "second", three={"base": 4})])
        assert rows(warehouse, "x", "double")["three"] == (0, 8)
