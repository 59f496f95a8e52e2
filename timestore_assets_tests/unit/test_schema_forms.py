"""One declared schema and the forms derived from it agree."""

from __future__ import annotations

import sys
import textwrap
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandera.polars as pa
import polars as pl
import pyarrow as arrow
import pytest

from timestore_assets.declaration.pandera_model import column_type, polars_type
from timestore_assets.declaration.pandera_schema import as_expected, columns_of_model, model_schema, pandera_schema
from timestore_assets.model.arrow_schema import arrow_schema, stored_arrow_schema
from timestore_assets.model.errors import DeclarationError
from timestore_assets.model.schema import Checks, Column, Schema
from timestore_assets.model.types import SCALARS, parse_type, quote

NESTED = ("decimal(10,2)", "list<timestamp>", "struct<a: list<decimal(3,1)>, b: struct<c: binary>>")
EVERY_TYPE = (*SCALARS, *NESTED)


def every_type(*, origin: Any = "declared") -> Schema:
    return Schema(
        columns=tuple(Column(name=f"c {text}", type=parse_type(text), nullable=True, origin=origin) for text in EVERY_TYPE)
    )


def test_duckdb_and_arrow_hold_the_same_columns() -> None:
    schema = every_type()
    with duckdb.connect() as con:
        columns = [f"{quote(column.name)} {column.stored_type}" for column in schema]
        con.execute(f"CREATE TABLE stored ({', '.join(columns)})")
        found = con.sql("FROM stored").to_arrow_table().schema
    visible = len(schema.names)
    assert found.names == stored_arrow_schema(schema).names[:visible]
    assert found.types == stored_arrow_schema(schema).types[:visible]


def test_results_have_zones_and_segments_have_none() -> None:
    schema = Schema(columns=(Column(name="t", type=parse_type("timestamp"), unit="s", description="when"),))
    assert arrow_schema(schema).field("t").type == arrow.timestamp("us", tz="UTC")
    assert stored_arrow_schema(schema).field("t").type == arrow.timestamp("us")
    assert arrow_schema(schema).field("t").metadata == {b"unit": b"s", b"description": b"when"}
    assert not arrow_schema(schema).field("t").nullable


def test_inferred_columns_are_stored_as_text() -> None:
    schema = Schema(columns=(Column(name="x", type=parse_type("int64"), nullable=True, origin="inferred"),))
    assert stored_arrow_schema(schema).field("x").type == arrow.string()
    assert arrow_schema(schema).field("x").type == arrow.int64()
    assert schema.column("x").stored_type == "VARCHAR"


@pytest.mark.parametrize("text", EVERY_TYPE)
def test_polars_types_lead_back_to_the_column_type(text: str) -> None:
    kind = parse_type(text)
    assert column_type(polars_type(kind)) == kind
    assert pl.from_arrow(arrow.nulls(1, arrow_schema(every_type()).field(f"c {text}").type)).dtype == polars_type(kind)


def failing_rows(column: Column, values: list[Any]) -> list[int]:
    schema = pandera_schema(Schema(columns=(column,)))
    frame = pl.DataFrame({column.name: values}, schema={column.name: polars_type(column.type)}, strict=False)
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        return sorted(errors.failure_cases["index"].to_list())
    return []


@pytest.mark.parametrize(
    ("kind", "checks", "values", "failing"),
    [
        ("double", Checks(ge=-60, le=140), [-60.0, None, 140.0, 140.1, -61.0], [3, 4]),
        ("int64", Checks(gt=0, lt=3), [0, 1, 2, 3], [0, 3]),
        ("float", Checks(ge=0.1), [0.1, 0.09], [1]),
        ("string", Checks(isin=("EWR", "JFK")), ["EWR", "ewr", None, ""], [1, 3]),
        ("string", Checks(matches="[A-Z]{3}"), ["EWR", "EWRX", "xEWR", "EWR\n", None], [1, 2, 3]),
        ("string", Checks(matches="a|b"), ["a", "b", "ab"], [2]),
        ("string", Checks(min_length=2), ["é", "éé"], [0]),
        ("string", Checks(max_length=2), ["éé", "ééé"], [1]),
        ("int32", Checks(isin=(1, 2)), [1, 3], [1]),
        ("float", Checks(isin=(0.1, 2)), [0.1, 2.0, 0.2], [2]),
        ("double", Checks(isin=(1, 2.5)), [1.0, 2.5, 3.0], [2]),
        ("decimal(6,2)", Checks(ge="0.50", lt="2"), [Decimal("0.49"), Decimal("0.5"), Decimal("2.00")], [0, 2]),
        ("decimal(6,2)", Checks(isin=("0.5", "7")), [Decimal("0.50"), Decimal("7.01")], [1]),
        ("date", Checks(ge="2024-01-01"), [date(2023, 12, 31), date(2024, 1, 1)], [0]),
        (
            "timestamp",
            Checks(lt="2024-01-01T00:00:00Z"),
            [datetime(2024, 1, 1, tzinfo=UTC), datetime(2023, 1, 1, tzinfo=UTC)],
            [0],
        ),
        (
            "timestamp",
            Checks(isin=("2024-01-01T00:00:00Z",)),
            [datetime(2024, 1, 1, tzinfo=UTC), datetime(2023, 1, 1, tzinfo=UTC)],
            [1],
        ),
        ("binary", Checks(isin=("ab",)), [b"ab", b"b"], [1]),
        ("bool", Checks(isin=(True,)), [True, False, None], [1]),
    ],
)
def test_checks_find_the_failing_rows(kind: str, checks: Checks, values: list[Any], failing: list[int]) -> None:
    assert failing_rows(Column(name="x", type=parse_type(kind), nullable=True, checks=checks), values) == failing


def test_required_columns_refuse_nulls_in_pandera() -> None:
    assert failing_rows(Column(name="x", type=parse_type("int64")), [1, None]) == [1]


def test_a_pattern_that_polars_can_not_run_is_refused_by_name() -> None:
    column = Column(name="x", type=parse_type("string"), checks=Checks(matches="(?=a)b"))
    with pytest.raises(DeclarationError, match=r"columns\.x\.matches: can't be used: .*look-around"):
        pandera_schema(Schema(columns=(column,)))


def test_frames_are_cast_to_the_zone_a_schema_asks_for() -> None:
    noon = datetime(2024, 1, 1, 12)
    frame = pl.DataFrame(
        {"a": [noon], "b": [noon], "other": [1]}, schema_overrides={"a": pl.Datetime("us", "UTC"), "b": pl.Datetime("us")}
    )
    wanted = pa.DataFrameSchema({"a": pa.Column(pl.Datetime("ms")), "b": pa.Column(pl.Datetime("us", "America/New_York"))})
    found = as_expected(frame, wanted)
    assert found.schema == {"a": pl.Datetime("ms"), "b": pl.Datetime("us", "America/New_York"), "other": pl.Int64()}
    assert found["a"].to_list() == [noon]
    assert found["b"].to_list() == [noon.replace(tzinfo=UTC)]
    wanted.validate(found)


MODEL = """
    import pandera.polars as pa
    import polars as pl

    class Weather(pa.DataFrameModel):
        time: pl.Datetime("us", "UTC")
        origin: str = pa.Field(isin=["EWR", "JFK"], description="Airport")
        temp: float = pa.Field(ge=-60, le=140, nullable=True, metadata={"unit": "degF", "allow_nan": True})
        code: str = pa.Field(str_matches="K", str_length={"min_value": 1, "max_value": 4})
        kind: pl.Enum(["METAR", "SPECI"])
        price: pl.Decimal(8, 2) = pa.Field(gt=0)
        parts: pl.List(pl.Struct({"n": pl.Int16}))
        share: float = pa.Field(in_range={"min_value": 0, "max_value": 1, "include_max": False})

        class Config:
            strict = True

        @pa.check("temp")
        def not_absurd(cls, data: pa.PolarsData) -> pl.LazyFrame:
            return data.lazyframe.select(pl.col(data.key) != 99.9)

    class Odd(pa.DataFrameModel):
        since: pl.Duration

    class Empty(pa.DataFrameModel):
        pass

    number = 1
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "their_models.py").write_text(textwrap.dedent(MODEL))
    (tmp_path / "broken_models.py").write_text("1 / 0\n")
    (tmp_path / "lacking_models.py").write_text("import no_such_thing\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "their_models", raising=False)
    return "their_models"


def test_a_model_stands_in_for_columns(models: str) -> None:
    columns = {column.name: column for column in columns_of_model(f"{models}.Weather")}
    assert {name: str(column.type) for name, column in columns.items()} == {
        "time": "timestamp",
        "origin": "string",
        "temp": "double",
        "code": "string",
        "kind": "string",
        "price": "decimal(8,2)",
        "parts": "list<struct<n: int32>>",
        "share": "double",
    }
    assert columns["origin"].description == "Airport"
    assert columns["origin"].checks == Checks(isin=("EWR", "JFK"))
    assert (columns["temp"].unit, columns["temp"].nullable, columns["temp"].allow_nan) == ("degF", True, True)
    assert columns["temp"].checks == Checks(ge=-60, le=140)
    assert columns["kind"].checks == Checks(isin=("METAR", "SPECI"))
    assert columns["price"].checks == Checks(gt="0")
    assert columns["share"].checks == Checks(ge=0, lt=1)
    assert (columns["code"].checks.min_length, columns["code"].checks.max_length) == (1, 4)
    assert failing_rows(columns["code"], ["KJFK", "K", "JK", "KJFKX"]) == [2, 3]


def test_a_model_validates_beside_columns_that_evolution_added(models: str) -> None:
    schema = model_schema(f"{models}.Weather")
    row = {
        "time": datetime(2024, 1, 1),
        "origin": "JFK",
        "temp": 99.9,
        "code": "K",
        "kind": "METAR",
        "price": Decimal("1.00"),
        "parts": [{"n": 1}],
        "share": 0.5,
        "added": "x",
    }
    declared = Schema(columns=columns_of_model(f"{models}.Weather"))
    types = {column.name: polars_type(column.type, zone=None) for column in declared} | {"added": pl.String()}
    frame = pl.DataFrame([row, row | {"temp": 50.0}], schema=types)
    with pytest.raises(pa.errors.SchemaErrors) as caught:
        schema.validate(as_expected(frame, schema), lazy=True)
    assert caught.value.failure_cases["index"].to_list() == [0]


@pytest.mark.parametrize(
    ("dotted", "message"),
    [
        ("Weather", "is no dotted path"),
        ("no_such_package.models.Weather", "no module named 'no_such_package'"),
        ("lacking_models.Weather", "no module named 'no_such_thing'"),
        ("broken_models.Weather", "importing 'broken_models' failed: ZeroDivisionError"),
        ("their_models.Nope", "module 'their_models' has no 'Nope'"),
        ("their_models.number", "is no pandera.polars DataFrameModel"),
        ("their_models.Odd", r"schema\.since: the type Duration.* can't be stored"),
        ("their_models.Empty", "has no columns"),
    ],
)
def test_models_that_can_not_be_used_say_why(models: str, dotted: str, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        columns_of_model(dotted)
