"""Killed anywhere between the catalog's row and the target's mark, the right catalog goes on and another stays refused."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.model.errors import OwnershipError
from timestore_assets.ownership.marks import read_marks
from timestore_assets.ownership.target_claim import adopt, claim, confirm
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.targets import Storage

DOOMED = """
import os, signal, sys
from pathlib import Path
from timestore_assets.catalog.catalog import Catalog
from timestore_assets.ownership.target_claim import adopt, claim
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.targets import Storage

root, url, what, when = sys.argv[1:]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Deadly(LocalStore):
    def mark(self, upload):
        if when == "before the mark":
            die()
        super().mark(upload)
        if when == "after the mark":
            die()

    def delete(self, names):
        super().delete(list(names)[:1])
        die()

store = Deadly(Path(root), staging_root=Path(root) / ".staging")
catalog, storage = Catalog.open(url), Storage.of(store)
if what == "claim":
    claim(catalog, storage, "default")
else:
    adopt(catalog, storage, "default", actor="test")
"""
MOMENTS = ("before the mark", "after the mark", "among the old marks")


def killed(store: LocalStore, url: str, what: str, when: str) -> None:
    command = [sys.executable, "-c", DOOMED, str(store.root), url, what, when]
    assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "data", staging_root=tmp_path / "data" / ".staging")


@pytest.mark.parametrize("when", MOMENTS)
def test_a_killed_claim_refuses_nobody(store: LocalStore, sqlite_catalog_url: str, when: str) -> None:
    catalog = Catalog.open(sqlite_catalog_url)
    for _ in range(2 if when == MOMENTS[2] else 0):
        claim(catalog, Storage.of(store), "default")
    killed(store, sqlite_catalog_url, "claim", when)
    confirm(catalog, Storage.of(store), "default")
    claim(catalog, Storage.of(store), "default")
    assert {mark.warehouse for mark in read_marks(store)} == {catalog.identity.known_id()}
    catalog.close()


@pytest.mark.parametrize("when", MOMENTS)
def test_a_killed_adoption_leaves_the_target_refused_until_it_is_done_again(
    store: LocalStore, sqlite_catalog_url: str, tmp_path: Path, sqlite_template: Path, when: str
) -> None:
    (tmp_path / "first.sqlite").write_bytes(sqlite_template.read_bytes())
    first = Catalog.open(f"sqlite:///{tmp_path / 'first.sqlite'}")
    for _ in range(2):
        claim(first, Storage.of(store), "default")
    killed(store, sqlite_catalog_url, "adopt", when)
    catalog = Catalog.open(sqlite_catalog_url)
    with pytest.raises(OwnershipError):
        claim(catalog, Storage.of(store), "default")
    adopt(catalog, Storage.of(store), "default", actor="test")
    claim(catalog, Storage.of(store), "default")
    with pytest.raises(OwnershipError):
        claim(first, Storage.of(store), "default")
    first.close()
    catalog.close()
