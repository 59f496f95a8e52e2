"""A storage target with objects in it, catalogs that claim it, and copies of a catalog as a backup makes them."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from secrets import token_hex

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.ownership.target_claim import begin
from timestore_assets.storage.object_store import ObjectStore, Upload
from timestore_assets.storage.targets import Storage
from timestore_assets.upkeep.collect import CollectReport, collect
from timestore_assets_tests.support.catalog_dataset import CatalogDataset
from timestore_assets_tests.support.catalogs import PostgresServer, fresh_database, sqlite_url

NOTHING = timedelta(0)


@dataclass
class Backups:
    """Catalogs on one kind of database. `postgres`: the server, None for SQLite files below `folder`."""

    folder: Path
    postgres: PostgresServer | None
    template: str
    _open: ExitStack = field(default_factory=ExitStack)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def fresh(self) -> str:
        """The URL of an empty catalog."""
        if self.postgres is not None:
            return self._open.enter_context(fresh_database(self.postgres, template=self.template))
        path = self.folder / f"catalog-{next(self._numbers)}.sqlite"
        path.write_bytes(Path(self.template).read_bytes())
        return sqlite_url(path)

    def copy(self, url: str) -> str:
        """The URL of a copy of a catalog as it is now; on PostgreSQL nobody may be connected to it."""
        if self.postgres is not None:
            name = url.partition("@/")[2].partition("?")[0]
            return self._open.enter_context(fresh_database(self.postgres, template=name))
        path = self.folder / f"catalog-{next(self._numbers)}.sqlite"
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as source:
            source.execute("VACUUM INTO ?", [str(path)])
        return sqlite_url(path)

    def close(self) -> None:
        self._open.close()


@dataclass
class Owned:
    """A warehouse over a target: objects are announced, made and committed as sessions do it, their rows are made up."""

    catalog: Catalog
    store: ObjectStore
    ground: CatalogDataset
    storage: Storage

    @classmethod
    @contextmanager
    def at(cls, url: str, store: ObjectStore) -> Iterator[Owned]:
        """A process of the warehouse whose catalog is there."""
        catalog = Catalog.open(url)
        try:
            yield cls(catalog, store, CatalogDataset.of(catalog), Storage.of(store))
        finally:
            catalog.close()

    def land(self, name: str) -> str:
        """Land one object in a session of a process of its own; returns its name."""
        self.storage = Storage.of(self.store)
        begin(self.catalog, self.storage, "default")
        # a name that no attempt ever had, as real ones are: ids come again when a catalog is set back
        segment = replace(self.ground.unannounced(0), name=f"weather/{name}-{token_hex(6)}.parquet")
        self.catalog.sessions.announce(self.ground.session, [segment.name])
        put(self.store, segment.name)
        self.ground.land(name, segment)
        return segment.name

    def collect(self, *, everything: bool = False) -> CollectReport:
        targets = ("default",) if everything else ()
        return collect(self.catalog, Storage.of(self.store), intent_grace=NOTHING, keep_versions=NOTHING, all_orphans_of=targets)

    def names(self) -> set[str]:
        return names(self.store)


def put(store: ObjectStore, name: str, content: bytes = b"x" * 50) -> None:
    staged = store.staging("test") / "file"
    staged.write_bytes(content)
    store.promote([Upload(staged=staged, name=name)])


def names(store: ObjectStore) -> set[str]:
    return {found.name for found in store.list()}
