"""What the service says of itself and its SQL (`CommandGetSqlInfo`).

JDBC's driver loads all of it once and casts each by its number, so that none may be missing or of another type than the
specification has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from typing import Any

import pyarrow as pa

from timestore_assets import __version__
from timestore_assets.querying.planning import sql_words, syntax

_BOOL, _LONG, _INT, _LIST, _MAP, _TEXT = "bool_value", "bigint_value", "int32_bitmask", "string_list", "map", "string_value"
_KINDS: dict[str, pa.DataType] = {
    _TEXT: pa.string(),
    _BOOL: pa.bool_(),
    _LONG: pa.int64(),
    _INT: pa.int32(),
    _LIST: pa.list_(pa.string()),
    _MAP: pa.map_(pa.int32(), pa.list_(pa.int32())),
}
"""By their places in the union."""
_NAMES = (_TEXT, _BOOL, _LONG, _INT, _LIST, "int32_to_int32_list_map")
_KEYWORDS = (
    "ASOF", "ILIKE", "PIVOT", "POSITIONAL", "QUALIFY", "SAMPLE", "TRY_CAST", "UNPIVOT",
)  # fmt: skip
_UNLIMITED = (541, 542, 543, 544, 546, 547, 548, 549, 550, 552, 553, 554, 555, 558, 559, 560, 561)
_NOTHING_SUCH = (500, 501, 527, 536, 537, 556, 563, 565, 566, 572, 573, 574, 575, 576)
"""DDL, integrity enhancement, FOR UPDATE, procedures, transactions, batches, savepoints."""
_OFFERED = (506, 515, 516, 518, 520, 521, 523, 524, 539)
_NUMBERS, _TEXTS, _TIMES = (0, 1, 2, 4, 5, 6, 7, 8, 13, 14, 16, 17, 18, 19), (3, 11, 19), (4, 15, 16)


def _everything() -> Iterator[tuple[int, str, Any]]:
    """Number, kind and value; the numbers are the specification's."""
    yield 0, _TEXT, "timestore"
    yield 1, _TEXT, __version__
    yield 2, _TEXT, pa.__version__
    yield 3, _BOOL, False  # an ingest lands records; SQL only reads
    yield 4, _BOOL, True
    yield 5, _BOOL, False
    yield 6, _TEXT, ""
    yield 7, _TEXT, ""
    yield 8, _INT, 0
    yield 9, _BOOL, True
    yield 100, _INT, 0
    yield 101, _INT, 0
    yield 502, _BOOL, False
    yield 503, _INT, 1  # case-insensitive
    yield 504, _TEXT, '"'
    yield 505, _INT, 1
    yield 507, _INT, 3  # nulls last
    yield 508, _LIST, list(_KEYWORDS)
    yield 509, _LIST, sorted(sql_words.NUMERIC)
    yield 510, _LIST, sorted(sql_words.STRING)
    yield 511, _LIST, ["coalesce", "ifnull", "nullif", "typeof"]
    yield 512, _LIST, sorted(sql_words.TEMPORAL)
    yield 513, _TEXT, "\\"
    yield 514, _TEXT, ""
    yield (
        517,
        _MAP,
        sorted({**{one: [*_NUMBERS] for one in _NUMBERS}, **dict.fromkeys(_TEXTS, sorted({*_NUMBERS, *_TIMES}))}.items()),
    )
    yield 519, _BOOL, False
    yield 522, _INT, 3
    yield 525, _INT, 7
    yield 526, _INT, 1
    yield 528, _INT, 2
    yield 529, _TEXT, "schema"
    yield 530, _TEXT, "procedure"
    yield 531, _TEXT, ""  # no catalogs
    yield 532, _BOOL, False
    yield 533, _INT, 0
    yield 534, _INT, 0
    yield 535, _INT, 0
    yield 538, _INT, 15
    yield 540, _INT, 3
    yield 545, _LONG, 0
    yield 551, _LONG, 0
    yield 557, _LONG, syntax.MAX_TEXT
    yield 562, _LONG, 0  # the specification has an int32 here, and JDBC's driver casts to a long
    yield 564, _INT, 0
    yield 567, _INT, 2  # forward only
    yield from ((number, _INT, 2) for number in (568, 569, 570, 571))  # read only
    yield from ((number, _LONG, 0) for number in _UNLIMITED)
    yield from ((number, _BOOL, False) for number in _NOTHING_SUCH)
    yield from ((number, _BOOL, True) for number in _OFFERED)


@cache
def _sorted() -> tuple[tuple[int, str, Any], ...]:
    return tuple(sorted(_everything(), key=lambda one: one[0]))


def sql_info(wanted: Collection[int]) -> pa.Table:
    """The infos of these numbers, all of them when none is named; what is not known is left out."""
    named = frozenset(wanted)
    chosen = [one for one in _sorted() if not named or one[0] in named]
    values: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
    offsets, types = [], []
    for _, kind, value in chosen:
        offsets.append(len(values[kind]))
        types.append(list(_KINDS).index(kind))
        values[kind].append(value)
    children = [pa.array(values[kind], arrow) for kind, arrow in _KINDS.items()]
    union = pa.UnionArray.from_dense(pa.array(types, pa.int8()), pa.array(offsets, pa.int32()), children, list(_NAMES))
    schema = pa.schema([pa.field("info_name", pa.uint32(), nullable=False), pa.field("value", union.type, nullable=False)])
    return pa.Table.from_arrays([pa.array([number for number, _, _ in chosen], pa.uint32()), union], schema=schema)
