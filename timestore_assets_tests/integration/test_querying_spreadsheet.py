"""CSV for spreadsheets: no text begins as a formula does, everything else is as it is without the option."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timestore_assets.querying.rendering.render import csv as csv_pieces
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.http_service import HttpService, service

FORMULAS = [
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\u00a0=1", "\v=1", "=cmd|' /C calc'!A0", '="x"', "＝1", "－1",
    "-", "=", "==", "\tx",
]  # fmt: skip
HARMLESS = ["", "plain", "1-1", "a=b", "'=1", " padded ", "(=1)", '"=1"', "0", "#REF!", "\\=1", "/=1"]


def cells(values: list[object], kind: pa.DataType, *, safe: bool, name: str = "c") -> list[list[str]]:
    schema = pa.schema([("n", pa.int64()), (name, kind)])
    batch = pa.record_batch([pa.array([-1] * len(values)), pa.array(values, kind)], schema=schema)
    text = b"".join(csv_pieces(schema, [batch], safe=safe)).decode()
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_texts_that_would_be_computed_get_a_mark_and_no_others(kind: pa.DataType) -> None:
    found = [row[1] for row in cells([*FORMULAS, *HARMLESS], kind, safe=True)[1:]]
    assert found == [*(f"'{one}" for one in FORMULAS), *HARMLESS]
    assert [row[1] for row in cells([*FORMULAS, *HARMLESS], kind, safe=False)[1:]] == [*FORMULAS, *HARMLESS]


@given(st.lists(st.text(), min_size=1, max_size=20))
def test_of_any_texts_none_begins_as_a_formula(texts: list[str]) -> None:
    texts = [one.encode("utf-8", "ignore").decode().replace("\0", "") for one in texts]
    for text, (_, shown) in zip(texts, cells(list(texts), pa.string(), safe=True)[1:], strict=True):
        assert shown in (text, f"'{text}")
        assert not shown.lstrip(" \u00a0\v\f\ufeff").startswith(tuple("=+-@\t\r\n＝＋－＠"))


def test_numbers_times_and_nulls_stay_as_they_are() -> None:
    for values, kind in (([-1.5, None], pa.float64()), ([-7, None], pa.int8()), ([float("-inf"), None], pa.float32())):
        assert cells(list(values), kind, safe=True) == cells(list(values), kind, safe=False)


def test_base64_and_names_of_columns_are_texts_too() -> None:
    (head, (_, shown)) = cells([b"\xfb\xef"], pa.binary(), safe=True, name="=HYPERLINK(1)")
    assert (head, shown) == (["n", "'=HYPERLINK(1)"], "'++8=")


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    with service(tmp_path_factory.mktemp("sheet") / "home") as opened:
        record = {"ts": "2013-01-01T06:00:00", "station": "=1+1", "temp": -5.0}
        assert opened.client.post("/datasets/weather/ingest", json={"records": [record]}).json()["landed"] == 1
        saved = {"sql": "SELECT station, temp FROM weather"}
        assert opened.client.put("/saved-queries/sheet", json=saved).status_code in (200, 201)
        yield opened


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/datasets/weather/query", {"columns": ["station", "temp"]}),
        ("/sql", {"sql": "SELECT station, temp FROM weather"}),
        ("/saved-queries/sheet/run", {}),
    ],
)
def test_over_http(http: HttpService, path: str, body: dict[str, object]) -> None:
    def ask(query: str, accept: str = "text/csv") -> str:
        answer = http.client.post(path + query, json=body, headers={"Accept": accept})
        return answer.text if answer.status_code == 200 else str(answer.status_code)

    assert ask("") == ask("?formulas=keep") == "station,temp\n=1+1,-5.0\n"
    assert ask("?formulas=escape") == "station,temp\n'=1+1,-5.0\n"
    assert json.loads(ask("?formulas=escape", "application/json"))["rows"] == [{"station": "=1+1", "temp": -5.0}]
    assert ask("?formulas=maybe") == "422"


def test_on_the_command_line(tmp_path: Path) -> None:
    shell = CommandLine(tmp_path)
    text = "SELECT '@x' AS a, -1 AS b"
    assert shell.inside("sql", text, "--format", "csv", "--escape-formulas").out == "a,b\n'@x,-1\n"
    assert shell.inside("sql", text, "--format", "csv").out == "a,b\n@x,-1\n"
    refused = shell.inside("sql", text, "--json", "--escape-formulas")
    assert (refused.code, refused.err) == (2, "error: --escape-formulas is for spreadsheets, which read CSV; add --format csv\n")
