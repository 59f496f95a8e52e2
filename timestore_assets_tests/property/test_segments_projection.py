"""Rows of any schema version read as any other are what a plain model in memory says, and no statistics leave one of them out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timestore_assets.model.arrow_schema import stored_arrow_schema
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.segment import ColumnStats, Segment
from timestore_assets.model.stored_columns import needs_rewrite
from timestore_assets.model.types import parse_type
from timestore_assets.model.window import parse_time
from timestore_assets.querying.planning.pruning import Operator, Predicate, StatsNames, may_match
from timestore_assets.segments.projection import columns_read, projection
from timestore_assets.segments.writer import write_parquet
from timestore_assets_tests.support.examples import examples

pytestmark = pytest.mark.slow

Values = Mapping[int, int | None]
"""A row: values of columns by id."""
INTEGER = parse_type("int64")
# as SQL over references, and as what it means; None where it can't be computed
EXPRESSIONS: list[tuple[str, Callable[[int | None, int | None], int | None]]] = [
    ("{a} * 2 + 1", lambda a, _: None if a is None else a * 2 + 1),
    ("coalesce({a}, 7)", lambda a, _: 7 if a is None else a),
    ("{a} - {b}", lambda a, b: None if a is None or b is None else a - b),
    ("CAST(CASE WHEN {a} = 3 THEN 'three' ELSE '8' END AS BIGINT)", lambda a, _: None if a == 3 else 8),
    ("length('\"#1\"') + {a}", lambda a, _: None if a is None else a + 4),
]


@dataclass
class History:
    """Schema versions, and how each computed column is computed."""

    schemas: dict[int, Schema]
    means: dict[int, Callable[[Mapping[int, int | None]], int | None]] = field(default_factory=dict)
    last_id: int = 3

    @property
    def newest(self) -> Schema:
        return self.schemas[max(self.schemas)]

    def add(self, columns: list[Column], retired: tuple[Column, ...]) -> None:
        version = max(self.schemas) + 1
        self.schemas[version] = Schema(columns=tuple(columns), version=version, retired=retired)

    def value(self, row: Values, written: Schema, column: Column) -> int | None:
        """What a row that was written under a schema has in a column of another."""
        if any(one.id == column.id for one in written):
            return row[column.id]
        if column.id not in self.means:
            return None
        return self.means[column.id](_Computed(self, row, written))


class _Computed(dict[int, "int | None"]):
    def __init__(self, history: History, row: Values, written: Schema) -> None:
        self._history, self._row, self._written = history, row, written

    def __missing__(self, number: int) -> int | None:
        column = next(one for schema in self._history.schemas.values() for one in schema if one.id == number)
        return self._history.value(self._row, self._written, column)


def integer(name: str, number: int, expression: str | None = None) -> Column:
    return Column(name=name, type=INTEGER, nullable=True, id=number, expression=expression)


@st.composite
def histories(draw: st.DrawFn) -> History:
    first = Schema(columns=tuple(integer(name, i + 1) for i, name in enumerate(("a", "b", "#1"))), version=1)
    history = History(schemas={1: first})
    for _ in range(draw(st.integers(1, 5))):
        _change(history, draw)
    return history


def _change(history: History, draw: st.DrawFn) -> None:
    now = history.newest
    columns, retired = list(now.columns), now.retired
    kind = draw(st.sampled_from(["rename", "swap", "drop", "transform", "add"]))
    at = draw(st.integers(0, len(columns) - 1))
    if kind == "rename":
        columns[at] = replace(columns[at], name=f"n{max(history.schemas)}")
    elif kind == "swap":
        other = draw(st.integers(0, len(columns) - 1))
        names = columns[at].name, columns[other].name
        columns[at], columns[other] = replace(columns[at], name=names[1]), replace(columns[other], name=names[0])
    elif kind == "drop":
        if len(columns) > 1:
            retired = (*retired, columns.pop(at))
    else:
        sql, means = draw(st.sampled_from(EXPRESSIONS))
        known = [*columns, *retired]
        one, two = draw(st.sampled_from(known)).id, draw(st.sampled_from(known)).id
        history.last_id += 1
        expression = sql.format(a=f'"#{one}"', b=f'"#{two}"')
        # a name that was dropped may be used again
        free = [column.name for column in retired if column.name not in {shown.name for shown in columns}]
        name = columns[at].name if kind == "transform" else draw(st.sampled_from([f"x{history.last_id}", *free]))
        history.means[history.last_id] = lambda values, one=one, two=two, means=means: means(values[one], values[two])  # type: ignore[misc] # defaults bind what the loop has now
        if kind == "transform":
            retired = (*retired, columns[at])
            columns[at] = integer(name, history.last_id, expression)
        else:
            columns.append(integer(name, history.last_id, expression))
    history.add(columns, retired)


values = st.none() | st.integers(-9, 9)


@settings(max_examples=examples(60), deadline=None)
@given(history=histories(), data=st.data())
def test_rows_read_as_another_version_are_what_the_model_says(history: History, data: st.DataObject) -> None:
    written = history.schemas[data.draw(st.integers(1, max(history.schemas)))]
    asked = history.schemas[data.draw(st.integers(1, max(history.schemas)))]
    rows: list[Values] = data.draw(st.lists(st.fixed_dictionaries({column.id: values for column in written}), max_size=4))
    con = duckdb.connect()
    con.register("stored", _table(written, rows))
    found = projection(asked.columns, schema=asked, written=written)
    given_back = con.sql(found.over("stored"))
    assert given_back.columns == list(asked.names)
    # only what the model knows: a column that is neither stored nor computed is null
    assert given_back.fetchall() == [tuple(history.value(row, written, column) for column in asked) for row in rows]
    assert set(found.reads) <= set(written.names)
    only_read = f"(SELECT {', '.join(_quoted(name) for name in found.reads)} FROM stored)"
    assert con.sql(found.over(only_read)).fetchall() == con.sql(found.over("stored")).fetchall()
    there = {column.id for column in written}
    assert needs_rewrite(written, asked) == any(one.id in history.means and one.id not in there for one in asked)


@settings(max_examples=examples(60), deadline=None)
@given(history=histories(), data=st.data())
def test_pruning_leaves_out_nothing_that_matches(history: History, data: st.DataObject) -> None:
    written = history.schemas[data.draw(st.integers(1, max(history.schemas)))]
    asked = history.newest
    rows: list[Values] = data.draw(
        st.lists(st.fixed_dictionaries({column.id: values for column in written}), min_size=1, max_size=4)
    )
    column = data.draw(st.sampled_from(asked.columns))
    operators: list[Operator] = ["=", "<", "<=", ">", ">=", "is_null", "is_not_null"]
    operator = data.draw(st.sampled_from(operators))
    bound = data.draw(st.integers(-20, 20))
    predicate = Predicate(column=column.name, type=INTEGER, operator=operator, values=() if "null" in operator else (bound,))
    names = StatsNames(asked, history.schemas.__getitem__)
    found = [history.value(row, written, column) for row in rows]
    if not may_match(_segment(written, rows), [predicate], names):
        assert not any(_matches(value, operator, bound) for value in found)


@settings(max_examples=40, deadline=None)
@given(history=histories(), data=st.data())
def test_a_file_rewritten_once_reads_as_before(history: History, data: st.DataObject) -> None:
    """Projecting rows, and projecting what was written out of a projection, come to the same."""
    between = history.schemas[data.draw(st.integers(1, max(history.schemas)))]
    newest = history.newest
    rows: list[Values] = data.draw(
        st.lists(st.fixed_dictionaries({column.id: values for column in history.schemas[1]}), min_size=1, max_size=3)
    )
    con = duckdb.connect()
    con.register("stored", _table(history.schemas[1], rows))
    with TemporaryDirectory() as folder:
        lenient = projection(between.columns, schema=between, written=history.schemas[1], stored=True)
        path = write_parquet(con, lenient.over("stored"), Path(folder) / "rewritten.parquet").path
        again = projection(newest.columns, schema=newest, written=between).over(f"read_parquet('{path}')")
        through = con.sql(again).fetchall()
    model = [{column.id: history.value(row, history.schemas[1], column) for column in between} for row in rows]
    assert through == [tuple(history.value(row, between, column) for column in newest) for row in model]


def test_names_for_ranged_reads_are_those_of_the_files() -> None:
    old = Schema(columns=(integer("b", 1), integer("c", 2)), version=1)
    new = Schema(columns=(integer("c", 1), integer("b", 2), integer("d", 3, '"#1" + 1')), version=2)
    assert columns_read([new.column("b")], schema=new, written=[old]) == ["c"]
    assert columns_read([new.column("d")], schema=new, written=[old, new]) == ["b", "d"]
    nowhere = replace(new, columns=(*new.columns, integer("e", 9)))
    assert columns_read([nowhere.column("e")], schema=nowhere, written=[old]) == ["b"], "DuckDB counts rows by some column"


def _table(schema: Schema, rows: list[Values]) -> pa.Table:
    kinds = {column.name: stored_arrow_schema(schema).field(column.name).type for column in schema}
    return pa.table({column.name: pa.array([row[column.id] for row in rows], kinds[column.name]) for column in schema})


def _segment(schema: Schema, rows: list[Values]) -> Segment:
    stats = {}
    for column in schema:
        there = [value for row in rows if (value := row[column.id]) is not None]
        stats[column.name] = ColumnStats(min=min(there, default=None), max=max(there, default=None), nulls=len(rows) - len(there))
    time = parse_time("2024-01-01")
    return Segment(
        id=1,
        dataset_id=1,
        name="one",
        partition_start=time,
        kind="delta",
        format="parquet",
        rows=len(rows),
        bytes=1,
        min_time=time,
        max_time=time,
        schema_version=schema.version,
        stats=stats,
    )


def _matches(value: int | None, operator: str, bound: int) -> bool:
    if operator == "is_null":
        return value is None
    if value is None:
        return False
    compare: dict[str, bool] = {
        "=": value == bound,
        "<": value < bound,
        "<=": value <= bound,
        ">": value > bound,
        ">=": value >= bound,
        "is_not_null": True,
    }
    return compare[operator]


def _quoted(name: str) -> str:
    return f'"{name}"'


def test_a_constant_alone_is_there_for_each_row() -> None:
    written = Schema(columns=(Column(name="a", type=INTEGER, id=1),))
    made = Column(name="b", type=INTEGER, id=2, expression="9")
    schema = Schema(columns=(*written.columns, made), version=2)
    with duckdb.connect() as con:
        con.execute("CREATE TABLE stored AS SELECT unnest([1, 2]) AS a")
        assert con.sql(projection([made], schema=schema, written=written).over("stored")).fetchall() == [(9,), (9,)]
