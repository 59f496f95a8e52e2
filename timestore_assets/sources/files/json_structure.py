"""Where the values of a JSON text begin and end, found in whole stretches of it at once, without decoding them.

A stretch is looked at as bytes: quotes that no backslash escapes tell strings from the rest, brackets outside strings give the
depth. What is wrong inside a value does not matter here, as long as its brackets and quotes match.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from timestore_assets.sources.files.text_records import Bytes, Offsets

BACKSLASH = 92
QUOTE, OPENING, CLOSING, COMMA = 1, 2, 3, 4
_KINDS = np.zeros(256, np.uint8)
_KINDS[[*b'"']], _KINDS[[*b"{["]], _KINDS[[*b"}]"]], _KINDS[[*b","]] = QUOTE, OPENING, CLOSING, COMMA
_BLANK = np.zeros(256, bool)
_BLANK[[*b" \t\r\n"]] = True
_MANY_BLANKS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """Brackets and commas outside strings.

    `places`: indices into the buffer; `kinds`: OPENING, CLOSING or COMMA; `depths`: how many brackets are open behind each.
    `depth`, `in_string`: at the end of the stretch.
    """

    places: Offsets
    kinds: npt.NDArray[np.uint8]
    depths: Offsets
    depth: int
    in_string: bool


def structure(buffer: Bytes, start: int, stop: int, *, depth: int = 0, in_string: bool = False) -> Structure:
    """The structure of `buffer[start:stop]`, which neither begins nor ends behind a backslash that escapes.

    `depth`, `in_string`: at its beginning.
    """
    stretch = buffer[start:stop]
    kinds = _KINDS[stretch]
    places = np.flatnonzero(kinds)
    kinds = kinds[places]
    escaped = _escaped(stretch)
    if escaped.size:
        kept = ~((kinds == QUOTE) & np.isin(places, escaped, assume_unique=True))
        places, kinds = places[kept], kinds[kept]
    quotes = np.cumsum(kinds == QUOTE) + in_string
    outside = (kinds != QUOTE) & (quotes & 1 == 0)
    ended_in_string = bool((quotes[-1] if quotes.size else int(in_string)) & 1)
    places, kinds = places[outside], kinds[outside]
    depths = depth + np.cumsum((kinds == OPENING).astype(np.int64) - (kinds == CLOSING))
    return Structure(
        places=places + start,
        kinds=kinds,
        depths=depths,
        depth=int(depths[-1]) if depths.size else depth,
        in_string=ended_in_string,
    )


def _escaped(stretch: Bytes) -> Offsets:
    """Places behind an odd number of backslashes."""
    slashes = np.flatnonzero(stretch == BACKSLASH)
    if not slashes.size:
        return slashes
    last = np.append(np.diff(slashes) != 1, True)
    ends = np.flatnonzero(last)
    lengths = np.diff(ends, prepend=-1)
    escaped: Offsets = slashes[ends[lengths % 2 == 1]] + 1
    return escaped


def whole_escapes(buffer: Bytes, start: int, stop: int) -> int:
    """The last place up to `stop` that no backslash before it escapes."""
    count = 0
    while stop - count > start and buffer[stop - count - 1] == BACKSLASH:
        count += 1
    return stop - count % 2


def without_blanks(buffer: Bytes, starts: Offsets, ends: Offsets) -> tuple[Offsets, Offsets]:
    """The same spans without the white space at their edges; of one that holds nothing else an empty one is left."""
    starts, ends = starts.copy(), ends.copy()
    for _ in range(_MANY_BLANKS):
        first, last = starts < ends, starts < ends
        first[first] = _BLANK[buffer[starts[first]]]
        starts[first] += 1
        last &= starts < ends
        last[last] = _BLANK[buffer[ends[last] - 1]]
        ends[last] -= 1
        if not (first.any() or last.any()):
            return starts, ends
    for index in np.flatnonzero(starts < ends):
        inside = np.flatnonzero(~_BLANK[buffer[starts[index] : ends[index]]])
        begin = int(starts[index])
        starts[index], ends[index] = (begin + inside[0], begin + inside[-1] + 1) if inside.size else (ends[index], ends[index])
    return starts, ends


def first_filled(buffer: Bytes, start: int, stop: int) -> int:
    """The first place in `[start, stop)` that holds no white space; `stop` when there is none."""
    filled = np.flatnonzero(~_BLANK[buffer[start:stop]])
    return start + int(filled[0]) if filled.size else stop
