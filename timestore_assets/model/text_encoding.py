"""The encodings that text may be in, by Python's names of them."""

from __future__ import annotations

import codecs

UTF_8 = "utf-8"
WIDE = frozenset({"utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"})
"""Of two or four bytes a character: such text is turned into UTF-8 before it is cut into records."""
_SINGLE = frozenset(
    {
        *(f"iso8859-{number}" for number in (*range(1, 12), *range(13, 17))),
        *(f"cp{number}" for number in range(1250, 1259)),
        *("cp437", "cp850", "cp852", "cp858", "cp866", "koi8-r", "koi8-u", "mac-roman", "euc_jp", "euc_kr"),
    }
)
"""Their line ends, delimiters and quotes are bytes of their own, so that records are cut as they are stored."""
_TRAILING = frozenset({"shift_jis", "cp932", "gb2312", "gbk", "gb18030", "big5", "cp949"})
"""The same, as long as delimiters and quotes lie below `@`: from there on a byte may be the second one of a character."""
_FIRST_TRAILING = "@"


def canonical_encoding(name: str) -> str | None:
    """The name that an encoding is known by here, None for one that is not taken."""
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError):
        return None
    if found in ("utf-8", "utf-8-sig", "ascii"):
        return UTF_8
    return found if found in WIDE | _SINGLE | _TRAILING else None


def hides(encoding: str, mark: str) -> bool:
    """Whether the byte of an ASCII mark may be part of another character in text of the encoding."""
    return encoding in _TRAILING and any(character >= _FIRST_TRAILING for character in mark)
