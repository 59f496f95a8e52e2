"""Listings that lag: keys that were written a moment ago are not in them yet."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import parse_qs, urlsplit

# S3 and Google's XML; Azure's
_ENTRY = re.compile(rb"<Contents>.*?</Contents>|<Blob>.*?</Blob>", re.DOTALL)
_KEY = re.compile(rb"<(?:Key|Name)>(.*?)</(?:Key|Name)>", re.DOTALL)
_COUNT = re.compile(rb"<KeyCount>\d+</KeyCount>")
_LATER_PAGE = ("continuation-token", "marker")


@dataclass
class LaggingList:
    """`listings`: how many listings a key that is written now will be missing from."""

    listings: int = 0
    _left: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def written(self, key: str) -> None:
        with self._lock:
            if self.listings and key:
                self._left[key] = self.listings + 1

    def forget(self) -> None:
        with self._lock:
            self.listings, self._left = 0, {}

    def filtered(self, target: str, page: bytes) -> bytes:
        """A page of a listing without the keys that are too new; the first page of a listing brings all keys nearer."""
        with self._lock:
            if not any(name in parse_qs(urlsplit(target).query) for name in _LATER_PAGE):
                self._left = {key: left - 1 for key, left in self._left.items() if left > 1}
            hidden = set(self._left)
        if not hidden:
            return page
        shown = _ENTRY.sub(lambda entry: b"" if _key(entry[0]) in hidden else entry[0], page)
        return _COUNT.sub(b"<KeyCount>%d</KeyCount>" % len(_ENTRY.findall(shown)), shown)


def is_listing(method: str, target: str) -> bool:
    query = parse_qs(urlsplit(target).query)
    return method == "GET" and ("list-type" in query or query.get("comp") == ["list"])


def _key(entry: bytes) -> str:
    found = _KEY.search(entry)
    return unescape(found[1].decode()) if found else ""
