"""What programs put around a JSON record, taken off, or at least recognised so that a refusal can name it."""

from __future__ import annotations

from collections.abc import Collection

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from timestore_assets.decoding.rejections import RowMask
from timestore_assets.model.record_form import Wrapper
from timestore_assets.sources.files.format_detection import BOM

_REGISTRY_BYTES = 5
"""A zero byte and the four of a schema's id."""
_REGISTRY_JSON = r"^\x00[\x00-\xff]{4}\s*[{\[]"
_LOOKS = (
    (r"^\xef\xbb\xbf", "it begins with a byte order mark; write `wrapper: bom`, or let its producer leave that out"),
    (_REGISTRY_JSON, "it begins with a schema registry's five bytes; write `wrapper: confluent`"),
    (r"^\x00", "it begins with a zero byte, as Avro or Protobuf behind a schema registry's header does, and only JSON is read"),
    (r"^Obj\x01", "it is Avro, and only JSON is read"),
    (r"^\x1f\x8b|^\x28\xb5\x2f\xfd", "it is compressed by its producer; let the broker compress instead"),
    (r"^PAR1", "it is Parquet, and only JSON is read"),
    (r"^\s*\[", "it is an array; send each record by itself"),
    (r'^\s*"\s*(\\n|\\t|\s)*\{', "it is a text with a record in it, encoded twice"),
    (r"^\s*<", "it is XML or HTML, and only JSON is read"),
)
_AROUND: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"schema", "payload"}), "Kafka Connect's schema and payload; write `wrapper: connect`, or `debezium` for changes"),
    (frozenset({"after", "op"}), "a change as Debezium writes it; write `wrapper: debezium`"),
    (frozenset({"before", "after"}), "a change as Debezium writes it; write `wrapper: debezium`"),
    (frozenset({"ingestion"}), "an envelope around its records, which only files are read as (`format: envelopes`)"),
)


def looks(values: pa.ChunkedArray) -> pa.Array:
    """For each value that is no record what it looks like, as the end of a sentence; empty where nobody can tell."""
    found = np.zeros(len(values), np.int8)
    for number, (pattern, _) in enumerate(_LOOKS, 1):
        match = pc.match_substring_regex(values, pattern)
        found[pc.fill_null(match, False).to_numpy() & (found == 0)] = number
    endings = pa.array(["", *(f": {ending}" for _, ending in _LOOKS)])
    return endings.take(pa.array(found))


def wrapping_of_keys(keys: Collection[str]) -> str | None:
    """Why an object without any known key may be a record in a wrapper; None when it looks like none."""
    what = next((what for names, what in _AROUND if names.issubset(keys)), None)
    return what and f"the record has none of the dataset's columns and looks like {what}"


def unwrapped(con: duckdb.DuckDBPyConnection, values: pa.ChunkedArray, wrapper: Wrapper, row_mask: RowMask) -> pa.ChunkedArray:
    """The records inside their wrappers; one without counts as itself. A row that was deleted is refused (`deleted_row`)."""
    marked = pc.starts_with(values, BOM)
    if pc.any(marked).as_py():
        values = pc.if_else(marked, _without_first(values, len(BOM)), values)
    # behind the same header Avro and Protobuf stay what they are, to be told apart from broken JSON
    header = pc.match_substring_regex(values, _REGISTRY_JSON)
    if pc.any(header).as_py():
        values = pc.if_else(header, _without_first(values, _REGISTRY_BYTES), values)
    if wrapper in ("bom", "confluent"):
        return values
    inner = "json_extract(d, '$.payload')"
    if wrapper == "debezium":
        inner = f"coalesce(json_extract({inner}, '$.after'), json_extract(d, '$.after'))"
    con.register("landing_wrapped", pa.table({"value": values}))
    try:
        found = con.sql(f"""SELECT CASE WHEN i IS NULL THEN value WHEN i <> 'null' THEN encode(i) END AS value,
            coalesce(i = 'null', false) AS gone FROM (SELECT value, try(CAST({inner} AS VARCHAR)) AS i FROM (
            SELECT value, CASE WHEN json_valid(d) THEN d END AS d FROM (
            SELECT value, try(decode(value)) AS d FROM landing_wrapped)))""").to_arrow_table()
    finally:
        con.unregister("landing_wrapped")
    if wrapper == "debezium":
        gone = np.flatnonzero(found.column("gone").to_numpy())
        row_mask.refuse(gone, code="deleted_row", reason="the row was deleted where it comes from, and deletions are not applied")
    return found.column("value")


def _without_first(values: pa.ChunkedArray, count: int) -> pa.ChunkedArray:
    return pc.binary_replace_slice(values, start=0, stop=count, replacement=b"")
