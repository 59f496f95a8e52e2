"""JSON bodies are cut where a JSON parser says, and what a body brings does not depend on how its records were divided."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timestore_assets.model.dataset import HttpSource
from timestore_assets.model.errors import BadFileError
from timestore_assets.sources import json_walk
from timestore_assets.sources.http.body_formats import BodyContext, MediaType, read_body
from timestore_assets.sources.http.request_body import BodyLimits, RequestBody, join
from timestore_assets_tests.support.landing_warehouse import dataset

SOURCE = HttpSource()
LONGEST = 80
READING = BodyContext(
    dataset=dataset(sources=(SOURCE,), partition_by=("station",)),
    source=SOURCE,
    limits=BodyLimits(bytes=1_000_000, rows=10_000, record_bytes=LONGEST),
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
layouts = st.fixed_dictionaries({"ensure_ascii": st.booleans(), "indent": st.none() | st.integers(0, 2)})


def read(data: str, media_type: MediaType = "application/json") -> RequestBody:
    return read_body(data.encode(), media_type, READING)


def in_order(body: RequestBody) -> list[bytes]:
    """All records of a body, good and bad, as they stand in it."""
    found: dict[int, bytes] = {one.position: one.raw for one in body.bad}
    for index, place in enumerate(body.places_of_records()):
        raw = body.raw(index)
        assert raw is not None
        found[int(place)] = raw
    assert sorted(found) == list(range(body.rows))
    return [found[place] for place in sorted(found)]


@given(records=st.lists(values, max_size=8), layout=layouts, wrapped=st.booleans())
def test_records_are_the_elements(records: list[Any], layout: dict[str, Any], wrapped: bool) -> None:
    body = read(json.dumps({"records": records} if wrapped else records, **layout))
    assert [json.loads(raw) for raw in in_order(body)] == records
    assert all(len(one.raw) > LONGEST for one in body.bad)


PARTS = st.sampled_from(
    [
        *("{}", '{"a": 1}', '{"a": "}, {"}', '{"a": [{}, {"b": 2}]}', '{"a": {"b": {}} }', '{"}": "{"}', "1", "[]", "[{},{}]"),
        *('"},{"', '{"a": NaN}', "{", "}", '{"a": 1, "a": 2}', '{"a": ' + "1" * 5000 + "}", '{"\\u007d , {": "\\"}, {"}', ""),
    ]
)


@given(
    parts=st.lists(PARTS, max_size=5),
    between=st.lists(st.sampled_from([",", ", ", " ,\n", "\t, \r"]), min_size=1, max_size=3),
    ends=st.sampled_from(["]", " ] ", ",]", "", "], [1]"]),
)
def test_an_array_that_is_parsed_as_a_whole_has_the_same_elements(parts: list[str], between: list[str], ends: str) -> None:
    listed = "".join(f"{between[place % len(between)] if place else ''}{part}" for place, part in enumerate(parts))
    text = f"x[ {listed}{ends}x"

    def found() -> tuple[list[str], int] | str:
        try:
            return json_walk.elements(text, 1)
        except ValueError:
            return "no array"

    as_a_whole = found()
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(json_walk, "_AT_ONCE", -1)
        assert as_a_whole == found()


def test_an_array_of_objects_is_parsed_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_walk, "value_end", None)
    assert json_walk.elements('[{"a": 1}, {"b": {}}]', 0) == (['{"a": 1}', '{"b": {}}'], 21)
    assert json_walk.elements('[{"a": 1}, {"b": 2}], []', 0) == (['{"a": 1}', '{"b": 2}'], 20)


def test_a_border_that_stands_in_a_text_is_none() -> None:
    records = ['{"a": "}, {"}', '{"a": 1}', '{"a": 2}']
    text = f"[{records[0]}, {records[1]},{records[2]}]"
    assert json_walk.elements(text, 0) == (records, len(text))


@given(records=st.lists(values, max_size=5), cuts=st.data())
def test_a_body_that_was_cut_off_is_refused(records: list[Any], cuts: st.DataObject) -> None:
    text = json.dumps(records)
    with pytest.raises(BadFileError):
        read(text[: cuts.draw(st.integers(1, len(text) - 1))])


@given(text=st.text(alphabet='[]{}",:\\ ax1-.e\n', max_size=30))
def test_what_python_takes_for_json_is_what_is_read(text: str) -> None:
    try:
        parsed: Any = json.loads(text)
    except ValueError:
        parsed = None
    try:
        body = read(text) if text else None
    except BadFileError:
        assert not isinstance(parsed, list)
        return
    if body is not None:
        assert isinstance(parsed, list)
        assert [json.loads(raw) for raw in in_order(body)] == parsed


@settings(max_examples=50)
@given(records=st.lists(st.lists(values, max_size=4), min_size=1, max_size=5), lines=st.data(), first=st.integers(0, 10**12))
def test_joined_bodies_number_every_record_once(records: list[list[Any]], lines: st.DataObject, first: int) -> None:
    bodies = []
    for some in records:
        if lines.draw(st.booleans()):
            bodies.append(read("".join(json.dumps(one) + "\n" for one in some), "application/x-ndjson"))
        else:
            bodies.append(read(json.dumps(some)))
    batch = join(bodies, first=first)
    found = {one.position: one.raw for one in batch.bad}
    for index, position in enumerate(batch.positions.to_pylist()):
        raw = batch.raw(index)
        assert raw is not None
        found[position] = raw
    expected = [json.dumps(one).encode() for some in records for one in some]
    assert [found[first + number] for number in range(len(expected))] == expected
    assert len(found) == len(expected)


@given(
    record=st.dictionaries(st.sampled_from(["station", "ts", "ü"]), st.sampled_from(["a", "b", 1, None]), max_size=3),
    layout=layouts,
    key=st.sampled_from(["a", "b", 1, True]),
)
def test_the_partition_key_fills_and_never_changes(record: dict[str, Any], layout: dict[str, Any], key: Any) -> None:
    body = read(json.dumps({"records": [record], "partitionKey": {"station": key}}, **layout))
    other = record.get("station", key)
    if isinstance(other, bool) is isinstance(key, bool) and other == key:
        assert [json.loads(value) for value in body.records.column("value").to_pylist()] == [{**record, "station": key}]
    else:
        assert [one.code for one in body.bad] == ["partition_key_conflict"]
    assert json.loads(in_order(body)[0]) == record
