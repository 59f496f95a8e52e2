"""Bodies of requests: cut as files of the same format are, within bounds, and refused as a whole when they are no such format."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pytest
import zstandard

from timestore_assets.model.dataset import HttpSource
from timestore_assets.model.errors import BadFileError, InputError
from timestore_assets.sources.batches import records_digest
from timestore_assets.sources.http.body_formats import BodyContext, MediaType, read_body
from timestore_assets.sources.http.request_body import (
    BodyLimits,
    RequestBody,
    TooManyBytesError,
    TooManyRowsError,
    decompressed,
    join,
)
from timestore_assets_tests.support.landing_warehouse import columns, dataset

ARROW: MediaType = "application/vnd.apache.arrow.stream"
DATASET = dataset(*columns(n="int64?"), partition_by=("station",), sources=(HttpSource(),))


def read(
    data: bytes | str, media_type: MediaType = "application/json", *, path: tuple[str, ...] = (), **limits: int
) -> RequestBody:
    chosen = BodyLimits(**{"bytes": 1_000_000, "rows": 10_000, "record_bytes": 1000, **limits})
    text = data.encode() if isinstance(data, str) else data
    return read_body(text, media_type, BodyContext(dataset=DATASET, source=HttpSource(path=path), limits=chosen))


def values(body: RequestBody) -> list[Any]:
    return body.records.column("value").to_pylist()


def stream(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


@contextmanager
def refused(code: str, *words: str) -> Iterator[None]:
    with pytest.raises(BadFileError) as error:
        yield
    assert error.value.code == code
    for word in words:
        assert word in str(error.value)


class TestJson:
    @pytest.mark.parametrize(
        "text", ['{"records": [%s, %s]}', "[%s,%s]", " [ %s , %s ] \n", '\ufeff{"schema": null, "records":[%s,%s]}']
    )
    def test_records_keep_their_bytes(self, text: str) -> None:
        first, second = '{"a" : 1.50, "b":"ü }], {"}', '{"a":{"x":[1, 2]}}'
        body = read(text % (first, second))
        assert values(body) == [first.encode(), second.encode()] == [body.raw(0), body.raw(1)]
        assert (body.rows, body.places, body.bad) == (2, None, ())

    @pytest.mark.parametrize("text", ["", "[]", '{"records": []}', " [ ] "])
    def test_no_records(self, text: str) -> None:
        assert read(text).rows == 0

    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ('[{"a": 1}', "character 9"),
            ('[{"a": 1},]', "character 9"),
            ('[{"a": }]', "not valid JSON"),
            ('[{"a": 1}] x', "something follows"),
            ('{"record": []}', "unknown key 'record'"),
            ('{"schema": {}}', "no `records`"),
            ('{"records": {}}', "not an array"),
            ('{"records": [], "records": []}', "twice"),
            ('{"records": [], "schema": 5}', "`schema` is not an object"),
            ("5", "not an object"),
            ("[" * 100_000, "nested too deeply"),
        ],
    )
    def test_what_is_no_such_json_is_refused_whole(self, text: str, word: str) -> None:
        with refused("bad_json", word):
            read(text)

    @pytest.mark.parametrize(
        "text",
        ['[{"n": 1}, 2]', '{"host": {"a": [1]}, "data": {"of": "x", "metrics": [{"n": 1}, 2]}, "more": 3}'],
    )
    def test_records_are_at_the_path_of_the_source_or_the_body_itself(self, text: str) -> None:
        body = read(text, path=("data", "metrics"))
        assert values(body) == [b'{"n": 1}', b"2"]
        assert body.digest() == records_digest([b'{"n": 1}', b"2"])

    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ('{"records": []}', "no `data.metrics`"),
            ('{"data": {}}', "no `data.metrics`"),
            ('{"data": []}', "`data` is not an object"),
            ('{"data": {"metrics": {}}}', "`data.metrics` is not an array"),
            ('{"data": {"metrics": [1], "metrics": [2]}}', "`data` has 'metrics' twice"),
            ('{"data": {"metrics": [1]}', "not valid JSON"),
        ],
    )
    def test_a_body_without_an_array_at_the_path_is_refused_whole(self, text: str, word: str) -> None:
        with refused("bad_json", word):
            read(text, path=("data", "metrics"))

    def test_too_many_at_a_path(self) -> None:
        with pytest.raises(TooManyRowsError):
            read('{"metrics": [1, 2, 3]}', path=("metrics",), rows=2)

    def test_not_utf8(self) -> None:
        with refused("not_utf8", "byte 7"):
            read(b'[{"a": \xff}]')

    def test_a_long_record_alone_is_refused(self) -> None:
        long = json.dumps({"a": "x" * 1000})
        body = read(f'[{{"a": 1}}, {long}, {{"a": 3}}]')
        assert values(body) == [b'{"a": 1}', b'{"a": 3}']
        assert body.places is not None
        assert body.places.tolist() == [0, 2]
        [bad] = body.bad
        assert (bad.code, bad.position, bad.raw) == ("too_long", 1, long.encode())

    def test_too_many(self) -> None:
        with pytest.raises(TooManyRowsError):
            read("[1, 2, 3]", rows=2)
        assert read("[1, 2, 3]", rows=3).rows == 3

    def test_the_partition_key_fills_what_is_missing(self) -> None:
        records = '[{}, {"n": 1}, {"station": "a"}, {"station": "b"}, 7, {"station": null}]'
        body = read(f'{{"records": {records}, "partitionKey": {{"station": "a"}}}}')
        assert [json.loads(value) for value in values(body)] == [
            {"station": "a"},
            {"station": "a", "n": 1},
            {"station": "a"},
            7,
        ]
        assert [(one.code, one.position) for one in body.bad] == [("partition_key_conflict", 3), ("partition_key_conflict", 5)]
        assert body.raw(1) == b'{"n": 1}', "the original goes to the dead letters"

    @pytest.mark.parametrize("key", ['{"n": 1}', '{"station": null}', '{"station": ["a"]}'])
    def test_a_partition_key_that_is_none(self, key: str) -> None:
        with pytest.raises(InputError, match="partitionKey"):
            read(f'{{"records": [], "partitionKey": {key}}}')

    @pytest.mark.parametrize("schema", ['{"temp": "double"}', '{"temp": "int64", "new": "string"}', '{"ts": "timestamp"}'])
    def test_a_schema_that_fits(self, schema: str) -> None:
        assert read(f'{{"records": [], "schema": {schema}}}').rows == 0

    @pytest.mark.parametrize("schema", ['{"temp": "string"}', '{"n": "double"}', '{"ts": 5}', '{"ts": "datetime"}'])
    def test_a_schema_that_does_not(self, schema: str) -> None:
        with pytest.raises(InputError, match="`schema`"):
            read(f'{{"records": [], "schema": {schema}}}')


class TestLines:
    def test_lines(self) -> None:
        body = read('\ufeff{"a": 1}\r\n\n{"a": \n  \n{"a": 3}', "application/x-ndjson")
        assert [body.raw(index) for index in range(4)] == [b'{"a": 1}', b'{"a": ', b"  ", b'{"a": 3}']
        assert body.shape == read("[]").shape

    def test_a_long_line(self) -> None:
        body = read('{"a": 1}\n' + "x" * 2000 + '\n{"a": 3}\n', "application/x-ndjson")
        assert (body.rows, [one.position for one in body.bad]) == (3, [1])
        assert body.places is not None
        assert body.places.tolist() == [0, 2]

    def test_more_blocks_than_one(self) -> None:
        body = read("x\n" * 1_100_000, "application/x-ndjson", bytes=10_000_000, rows=2_000_000)
        assert body.rows == 1_100_000
        assert body.raw(1_099_999) == b"x"

    def test_the_digest_is_that_of_the_same_records_in_an_array(self) -> None:
        records = [b'{"a":1}', b'{"a": "\xc3\xbc"}']
        lines, array = read(b"\r\n".join(records), "application/x-ndjson"), read(b"[" + b" , ".join(records) + b"]")
        assert lines.digest() == array.digest() == records_digest(records)


class TestCsv:
    def test_fields_and_refused_records(self) -> None:
        body = read('ts,station\n2013,a\n1,2,3\n"x\nz,"b\nc"\n\nlast,\n', "text/csv")
        assert body.columns == ("ts", "station")
        assert body.records.to_pylist() == [
            {"ts": "2013", "station": "a"},
            {"ts": "z", "station": "b\nc"},
            {"ts": "last", "station": None},
        ]
        assert body.places is not None
        assert body.places.tolist() == [0, 3, 4]
        assert [(one.code, one.position) for one in body.bad] == [("ragged", 1), ("unclosed_quote", 2)]
        assert body.raw(1) == b'z,"b\nc"'

    @pytest.mark.parametrize(
        ("text", "code"), [("a,a\n1,2\n", "duplicate_columns"), ("\n\n", "empty_file"), ('"a\n1\n', "bad_header")]
    )
    def test_a_bad_header(self, text: str, code: str) -> None:
        with refused(code):
            read(text, "text/csv")

    def test_a_header_alone(self) -> None:
        assert read("ts,station\n", "text/csv").rows == 0


class TestArrow:
    TABLE = pa.table({"ts": ["2013-01-01"] * 3, "station": ["a", None, "b"], "n": [1, 2, 3]})

    @pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
    def test_a_stream(self, compression: str | None) -> None:
        body = read(stream(self.TABLE, compression=compression), ARROW)
        assert body.records == self.TABLE
        assert body.columns == ("ts", "station", "n")

    def test_dictionaries_and_views_are_resolved(self) -> None:
        text = pa.chunked_array([["x" * 20, "y", None]])
        table = pa.table({"d": text.dictionary_encode(), "v": text.cast(pa.string_view()), "s": text})
        body = read(stream(table), ARROW)
        assert body.records.schema.types == [pa.string(), pa.large_string(), pa.string()]
        assert [body.records.column(name).to_pylist() for name in ("d", "v")] == [text.to_pylist()] * 2
        assert body.shape == read(stream(table.slice(1)), ARROW).shape

    def test_text_that_is_not_utf8_is_the_matter_of_its_row(self) -> None:
        data = pa.array([b"a", b"\xff", b"c"], pa.binary()).view(pa.string())
        body = read(stream(pa.table({"s": data})), ARROW)
        assert body.records.column("s").to_pylist() == ["a", "c"]
        assert [(one.code, one.position) for one in body.bad] == [("invalid_utf8", 1)]

    def test_offsets_that_point_outside(self) -> None:
        good = stream(pa.table({"s": ["abcd", "efgh"]}))
        offsets = (0).to_bytes(4, "little") + (4).to_bytes(4, "little") + (8).to_bytes(4, "little")
        assert good.count(offsets) == 1
        with refused("bad_arrow"):
            read(good.replace(offsets, offsets[:8] + (1 << 20).to_bytes(4, "little")), ARROW)

    @pytest.mark.parametrize("kind", [pa.run_end_encoded(pa.int32(), pa.int64()), pa.list_view(pa.int64())])
    def test_types_that_can_hide_bulk(self, kind: pa.DataType) -> None:
        with refused("bad_arrow", "column 'n'"):
            read(stream(pa.table({"n": pa.array([], kind)})), ARROW)

    def test_a_stream_that_ends_too_early(self) -> None:
        whole = stream(self.TABLE)
        for length in (3, 50, len(whole) // 2, len(whole) - 20):
            with refused("bad_arrow"):
                read(whole[:length], ARROW)

    def test_what_it_becomes_is_bounded_before_it_becomes_that(self) -> None:
        zeros = stream(pa.table({"n": pa.array([0] * 500_000)}), compression="zstd")
        assert len(zeros) < 100_000
        with pytest.raises(TooManyBytesError):
            read(zeros, ARROW, rows=1_000_000)

    def test_a_dictionary_may_not_repeat_long_values_without_end(self) -> None:
        table = pa.table({"d": pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int8()), pa.array(["x" * 1000]))})
        with pytest.raises(TooManyBytesError):
            read(stream(table), ARROW)

    def test_rows_without_bytes_are_counted(self) -> None:
        with pytest.raises(TooManyRowsError):
            read(stream(pa.table({"n": pa.nulls(10_001)})), ARROW)

    def test_damage_anywhere_is_refused_or_read(self) -> None:
        """No flipped byte brings the process down or gives another error."""
        whole = stream(self.TABLE, compression="lz4")
        for place in range(len(whole)):
            broken = whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
            try:
                read(broken, ARROW)
            except (BadFileError, TooManyBytesError, TooManyRowsError):
                continue


class TestDecompression:
    @pytest.mark.parametrize("kind", ["gzip", "zstd"])
    def test_up_to_the_limit(self, kind: Any) -> None:
        packed = gzip.compress(b"x" * 5000) if kind == "gzip" else zstandard.compress(b"x" * 5000)
        assert decompressed(packed, kind, limit=5000) == b"x" * 5000
        with pytest.raises(TooManyBytesError):
            decompressed(packed, kind, limit=4999)
        for damaged in (packed[:-6], b"not compressed"):
            with refused("bad_compression"):
                decompressed(damaged, kind, limit=5000)

    def test_a_bomb(self) -> None:
        with pytest.raises(TooManyBytesError):
            decompressed(zstandard.compress(bytes(500_000_000)), "zstd", limit=1_000_000)


def test_bodies_are_joined_in_order() -> None:
    bodies = [
        read('[{"a": 1}, {"a": 2}]'),
        read("[]"),
        read(f'["{"x" * 2000}", {{"a": 3}}]'),
        read('{"a": 4}\n', "application/x-ndjson"),
    ]
    batch = join(bodies, first=100)
    assert batch.positions.to_pylist() == [100, 101, 103, 104]
    assert [one.position for one in batch.bad] == [102]
    texts = [b'{"a": 1}', b'{"a": 2}', b'{"a": 3}', b'{"a": 4}']
    assert [batch.raw(index) for index in range(4)] == texts
    assert batch.raw.many([3, 0, 2]) == [texts[3], texts[0], texts[2]]  # type: ignore[attr-defined] # those of bodies have it
