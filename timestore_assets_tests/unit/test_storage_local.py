"""The local store: objects appear whole and once, and nothing outside the root is reachable."""

from __future__ import annotations

import gc
import os
import signal
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from timestore_assets.model.errors import ConflictError, InputError, StorageFullError, UnavailableError
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.object_store import Upload


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "data", staging_root=tmp_path / "data" / ".staging")


def put(store: LocalStore, name: str, content: bytes = b"x") -> None:
    staged = store.staging("test") / "file"
    staged.write_bytes(content)
    store.promote([Upload(staged=staged, name=name)])


def names(store: LocalStore, prefix: str = "") -> list[str]:
    return [found.name for found in store.list(prefix)]


def test_promoted_files_are_there_and_gone_from_staging(store: LocalStore) -> None:
    folder = store.staging("a b/c")
    uploads = []
    for i in range(20):
        (folder / str(i)).write_bytes(b"%d" % i)
        uploads.append(Upload(staged=folder / str(i), name=f"set/day={i % 3}/{i}.parquet"))
    store.promote(uploads)
    assert [store.local_path(upload.name).read_bytes() for upload in uploads] == [b"%d" % i for i in range(20)]
    assert list(folder.iterdir()) == []


def test_an_object_is_never_overwritten(store: LocalStore) -> None:
    put(store, "a/1", b"first")
    with pytest.raises(ConflictError, match="a/1 exists already"):
        put(store, "a/1", b"second")
    assert store.local_path("a/1").read_bytes() == b"first"


def test_an_object_can_not_be_written_to(store: LocalStore) -> None:
    put(store, "a/1")
    assert stat.S_IMODE(store.local_path("a/1").stat().st_mode) == 0o400


def test_listing_is_in_order_of_whole_names_with_sizes_and_times(store: LocalStore) -> None:
    for name in ("b/z", "a/b/c", "a-b/c", "a.b", "a/b-c", "ab"):
        put(store, name, name.encode())
    found = list(store.list())
    assert [one.name for one in found] == sorted(["b/z", "a/b/c", "a-b/c", "a.b", "a/b-c", "ab"])
    assert all(one.bytes == len(one.name) for one in found)
    assert all(abs(datetime.now(UTC) - one.modified) < timedelta(minutes=1) for one in found)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("a/", ["a/b/c", "a/d"]),
        ("a", ["a/b/c", "a/d", "ab/c"]),
        ("a/b", ["a/b/c"]),
        ("a/b/c", ["a/b/c"]),
        ("x", []),
        ("a/b/c/", []),
    ],
)
def test_listing_below_a_prefix(store: LocalStore, prefix: str, expected: list[str]) -> None:
    for name in ("a/b/c", "a/d", "ab/c", "b"):
        put(store, name)
    assert names(store, prefix) == expected


def test_delete_takes_empty_folders_along_and_forgives_missing_objects(store: LocalStore) -> None:
    put(store, "a/b/1")
    put(store, "a/2")
    store.delete(["a/b/1", "a/b/gone", "no/such"])
    assert names(store) == ["a/2"]
    assert not (store.root / "a" / "b").exists()
    store.delete(["a/2"])
    assert store.root.exists()


def test_a_missing_object_is_unavailable(store: LocalStore) -> None:
    with pytest.raises(UnavailableError, match="object a/1 is missing"):
        store.local_path("a/1")


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "a/.staging", ".staging/x", "a\\b", "a\nb", "a\0b", "x" * 256],
)
def test_odd_names_are_refused_everywhere(store: LocalStore, name: str) -> None:
    staged = store.staging("test") / "file"
    staged.write_bytes(b"x")
    with pytest.raises(InputError, match="no object name"):
        store.promote([Upload(staged=staged, name=name)])
    with pytest.raises(InputError, match="no object name"):
        store.local_path(name)
    with pytest.raises(InputError, match="no object name"):
        store.delete([name])


def test_promoting_races_with_pruning_folders(store: LocalStore) -> None:
    stop = threading.Event()

    def prune() -> None:
        while not stop.is_set():
            store.delete(["a/b/c/none"])

    thread = threading.Thread(target=prune)
    thread.start()
    try:
        for i in range(100):
            put(store, f"a/b/c/{i}")
            store.delete([f"a/b/c/{i}"])
    finally:
        stop.set()
        thread.join(10)
    assert names(store) == []


def test_a_full_disk_is_named_with_the_bytes_needed(store: LocalStore, small_disk: Path) -> None:
    full = LocalStore(small_disk / "data", staging_root=small_disk / "data" / ".staging")
    staged = full.staging("test") / "file"
    staged.write_bytes(b"x" * 10_000)
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "ballast").write_bytes(b"x" * 10_000_000)
    with pytest.raises(StorageFullError, match=r"no room left in .*data: 50,000,000 bytes are needed"):
        full.promote([Upload(staged=staged, name=f"{'long/' * 5}{i}/object") for i in range(5000)])


@pytest.fixture
def small_disk(tmp_path: Path) -> object:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=200", "tmpfs", str(folder)],
        capture_output=True,
        timeout=10,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no right to mount a small file system here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], timeout=10, check=True)


def test_staging_on_another_file_system_is_explained(tmp_path: Path, small_disk: Path) -> None:
    store = LocalStore(tmp_path / "data", staging_root=small_disk)
    with pytest.raises(UnavailableError, match="must be on one file system"):
        put(store, "a")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_root_without_rights_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(UnavailableError, match="can't be used"):
        LocalStore(tmp_path / "closed" / "data", staging_root=tmp_path)


def test_a_root_that_is_a_file_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    with pytest.raises(UnavailableError, match="can't be used"):
        LocalStore(tmp_path / "data", staging_root=tmp_path)


HOLDER = """
import sys
from pathlib import Path
from timestore_assets.storage.local import LocalStore
root = Path(sys.argv[1])
store = LocalStore(root, staging_root=root / ".staging")
folder = store.staging("other")
(folder / "half").write_bytes(b"half")
print("ready", flush=True)
sys.stdin.read()
"""


def test_the_sweep_takes_folders_of_dead_processes_only(store: LocalStore) -> None:
    own = store.staging("mine")
    command = [sys.executable, "-c", HOLDER, str(store.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert store.sweep_staging(0) == 0
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert store.sweep_staging(3600) == 0
    assert store.sweep_staging(0) == 1
    assert own.exists()
    assert len(list((store.root / ".staging").iterdir())) == 1


def test_a_store_that_is_let_go_leaves_nothing_behind(store: LocalStore) -> None:
    root = store.root / ".staging"
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        short = LocalStore(store.root, staging_root=root)
        short.staging("short").rmdir()
        del short
    gc.collect()
    assert list(root.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1


def test_files_still_staged_survive_the_store_that_made_the_folder(store: LocalStore) -> None:
    folder = LocalStore(store.root, staging_root=store.root / ".staging").staging("kept")
    (folder / "file").write_bytes(b"x")
    gc.collect()
    store.promote([Upload(staged=folder / "file", name="a")])
    assert names(store) == ["a"]
