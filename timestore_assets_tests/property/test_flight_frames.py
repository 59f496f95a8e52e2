"""Any table survives being cut into messages of Flight and put together again; bytes that are no messages never do harm."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timestore_assets.model.errors import InputError
from timestore_assets.service.flight import flight_data
from timestore_assets.service.flight.flight_data import batch_data, ipc_message, ipc_stream, schema_data
from timestore_assets.service.flight.flight_messages import read, unpacked
from timestore_assets.service.flight.handles import Handle
from timestore_assets.sources.http.arrow_body import message_facts
from timestore_assets_tests.support.examples import examples

KINDS = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.string(): st.text(max_size=300),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.list_(pa.int32()): st.lists(st.integers(-9, 9), max_size=4),
}


@st.composite
def tables(draw: Any) -> pa.Table:
    rows = draw(st.integers(0, 60))
    kinds = draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=4))
    columns = [draw(st.lists(st.none() | KINDS[kind], min_size=rows, max_size=rows)) for kind in kinds]
    return pa.table(
        [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)], [f"c{i}" for i in range(len(kinds))]
    )


@settings(max_examples=60, deadline=None)
@given(table=tables(), most=st.integers(100, 3_000))
def test_a_table_is_the_same_behind_its_frames(table: pa.Table, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flight_data, "PIECE_BYTES", most)
        frames = [schema_data(table.schema), *(piece for batch in table.to_batches() for piece in batch_data(batch))]
    messages = [read("FlightData", frame) for frame in frames]
    joined = ipc_stream([ipc_message(one.data_header, one.data_body) for one in messages])
    assert pa.ipc.open_stream(joined).read_all().equals(table)
    for one in messages[1:]:
        facts = message_facts(memoryview(one.data_header), memoryview(one.data_body))
        assert facts.is_batch and facts.size == len(one.data_body)
        assert facts.rows == 1 or len(one.data_body) < 4 * most + 2_000, "it was cut"
    assert sum(message_facts(memoryview(m.data_header), memoryview(m.data_body)).rows for m in messages) == table.num_rows


@settings(max_examples=examples(100), deadline=None)
@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_message_are_refused_in_words(data: bytes) -> None:
    for reader in (unpacked, Handle.read, lambda sent: read("FlightData", sent)):
        with suppress(InputError):
            reader(data)
    with suppress(ValueError):
        message_facts(memoryview(data), memoryview(b""))
