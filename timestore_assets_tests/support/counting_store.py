"""A store in memory for the read cache, which counts what it is asked for and can be made to wait or to fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from obstore.store import MemoryStore

from timestore_assets.model.errors import MissingObjectError
from timestore_assets.storage.cache.read_cache import ReadCache
from timestore_assets.storage.object_store import ObjectRequest


@dataclass(kw_only=True)
class CountingStore:
    """Fetchable. `downloads`, `spans`: what was asked for. `gate`: downloads wait for it. `failures`: raised first, in order."""

    objects: Mapping[str, bytes]
    key: str = "memory"
    concurrency: int = 4
    downloads: list[str] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()
        self._store = MemoryStore()
        for name, content in self.objects.items():
            self._store.put(name, content)

    def download(self, name: str, to: Path) -> None:
        self.downloads.append(name)
        assert self.gate.wait(20)
        if self.failures:
            raise self.failures.pop(0)
        to.write_bytes(self._content(name))

    def ranges(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        self.spans += spans
        if name not in self.objects:
            raise MissingObjectError(f"object {name} is missing")
        starts, ends = zip(*spans, strict=True)
        return [bytes(found) for found in self._store.get_ranges(name, starts=starts, ends=ends)]

    def _content(self, name: str) -> bytes:
        if name not in self.objects:
            raise MissingObjectError(f"object {name} is missing")
        return bytes(self._store.get(name).bytes())

    def wanted(self, *names: str, columns: Sequence[str] | None = None) -> list[ObjectRequest]:
        """All objects when none is named."""
        chosen = None if columns is None else frozenset(columns)
        return [
            ObjectRequest(name=name, bytes=len(self.objects.get(name, b"")), columns=chosen) for name in names or self.objects
        ]


@contextmanager
def contents(cache: ReadCache, store: CountingStore, *names: str) -> Iterator[list[bytes]]:
    """What a reader of the objects finds."""
    with cache.reading(store, store.wanted(*names)) as paths:
        yield [path.read_bytes() for path in paths]


def files_of_readers(cache: ReadCache) -> list[Path]:
    """Files below the cache that belong to processes, dead or alive."""
    return [path for path in (cache.folder / "readers").rglob("*") if path.is_file() and path.name != "lock"]
