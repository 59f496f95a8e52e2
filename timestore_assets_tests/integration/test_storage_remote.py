"""One behaviour of all object stores: a folder, S3, Google Cloud Storage and Azure Blob."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from timestore_assets.model.errors import ConflictError, InputError, MissingObjectError, UnavailableError
from timestore_assets.storage.local import LocalStore
from timestore_assets.storage.object_store import ObjectRequest, ObjectStore, Upload
from timestore_assets_tests.support.bucket_settings import PART_BYTES, remote_settings, remote_store
from timestore_assets_tests.support.object_server_fixtures import OBJECT_SERVERS
from timestore_assets_tests.support.object_servers import ObjectServer, S3Server
from timestore_assets_tests.support.rough_store import rough_store

LARGE = bytes(range(256)) * (2 * PART_BYTES // 256) + b"and a third part"
ODD_NAMES = [
    "weather/day=2024-01-01/a b+c.parquet",
    "weather/ünï—çødé/日本.parquet",
    "weather/100%25 of #1 [x] {y} ~ & ' ( ) ! * ; : @ = , $.parquet",
]


@pytest.fixture(params=["local", *OBJECT_SERVERS])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    if request.param == "local":
        return LocalStore(tmp_path / "data", staging_root=tmp_path / "data" / ".staging")
    server: ObjectServer = request.getfixturevalue(f"{request.param}_server")
    bucket = server.with_bucket(f"suite-{abs(hash(request.node.nodeid))}")
    return remote_store(remote_settings(bucket, tmp_path, monkeypatch, storage_root="some/where"))


def staged(store: ObjectStore, name: str, content: bytes) -> Upload:
    path = store.staging("test") / "file"
    path.write_bytes(content)
    return Upload(staged=path, name=name)


def put(store: ObjectStore, **contents: bytes) -> None:
    store.promote([staged(store, name, content) for name, content in contents.items()])


def names(store: ObjectStore, prefix: str = "") -> list[str]:
    return [found.name for found in store.list(prefix)]


@contextmanager
def content(store: ObjectStore, *wanted: str) -> Iterator[list[bytes]]:
    sizes = {found.name: found.bytes for found in store.list()}
    with store.reading([ObjectRequest(name=name, bytes=sizes.get(name, 1)) for name in wanted]) as paths:
        yield [path.read_bytes() for path in paths]


def test_what_is_promoted_is_listed_and_read(store: ObjectStore) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    uploads = [staged(store, f"weather/{number:02d}.parquet", b"x" * number) for number in range(1, 20)]
    store.promote([*uploads, staged(store, "weather/empty.parquet", b"")])
    found = list(store.list("weather/"))
    assert [one.name for one in found] == [*(f"weather/{number:02d}.parquet" for number in range(1, 20)), "weather/empty.parquet"]
    assert [one.bytes for one in found] == [*range(1, 20), 0]
    assert all(before < one.modified < before + timedelta(minutes=5) for one in found)
    with content(store, "weather/07.parquet", "weather/empty.parquet", "weather/03.parquet") as read:
        assert read == [b"x" * 7, b"", b"x" * 3]


def test_an_object_is_never_overwritten(store: ObjectStore) -> None:
    put(store, one=b"first")
    for other in (b"other", LARGE):
        with pytest.raises(ConflictError, match="one exists already"):
            put(store, one=other)
    with content(store, "one") as read:
        assert read == [b"first"]


def test_an_object_of_several_parts_comes_back_whole(store: ObjectStore) -> None:
    put(store, large=LARGE)
    with content(store, "large") as [read]:
        assert read == LARGE


def test_names_of_any_kind_come_back_as_they_went(store: ObjectStore) -> None:
    store.promote([staged(store, name, name.encode()) for name in ODD_NAMES])
    assert names(store) == sorted(ODD_NAMES, key=str.encode)
    with content(store, *ODD_NAMES) as read:
        assert read == [name.encode() for name in ODD_NAMES]
    store.delete(ODD_NAMES)
    assert names(store) == []


def test_a_name_that_leads_elsewhere_is_refused(store: ObjectStore) -> None:
    for name in ("../up", "/top", "a//b", "a/.hidden", "a\\b", "a/..", ""):
        attempts = (lambda: put(store, **{name: b"x"}), lambda: store.address(name), lambda: store.delete([name]))  # noqa: B023 - called in the same turn
        for attempt in attempts:
            with pytest.raises(InputError, match="is no object name"):
                attempt()


def test_a_listing_is_in_order_and_of_a_prefix(store: ObjectStore) -> None:
    put(store, **dict.fromkeys(("b/2", "b/10", "b.c", "a/z", "ba/1", "b/1/x"), b"x"))
    assert names(store) == ["a/z", "b.c", "b/1/x", "b/10", "b/2", "ba/1"]
    assert names(store, "b/") == ["b/1/x", "b/10", "b/2"]
    assert names(store, "b/1") == ["b/1/x", "b/10"]
    assert names(store, "b") == ["b.c", "b/1/x", "b/10", "b/2", "ba/1"]
    assert names(store, "nothing") == names(store, "nothing/at/all") == []


def test_deleting_takes_what_is_there_and_leaves_the_rest(store: ObjectStore) -> None:
    put(store, **{f"n/{number}": b"x" for number in range(30)}, other=b"y")
    store.delete(f"n/{number}" for number in range(40))
    assert names(store) == ["other"]
    store.delete([])


def test_a_missing_object_is_told_by_name(store: ObjectStore) -> None:
    with pytest.raises(MissingObjectError, match=r"object n/gone is missing .*timestore verify"), content(store, "n/gone"):
        pass


@pytest.mark.xdist_group("s3")
def test_more_than_a_page_is_listed_and_deleted(s3_bucket: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = remote_store(remote_settings(s3_bucket, tmp_path, monkeypatch))
    every = [f"many/{number:04d}" for number in range(1100)]
    put(store, **dict.fromkeys(every, b"x"))
    assert names(store, "many/") == every
    store.delete(every)
    assert names(store) == []


def test_an_address_says_where(store: ObjectStore) -> None:
    address = store.address("weather/1.parquet")
    if isinstance(store, LocalStore):
        assert address == f"file://{store.root}/weather/1.parquet"
    else:
        assert address.partition("://")[0] in {"s3", "gs", "az"}
        assert address.endswith("/some/where/weather/1.parquet")


@pytest.mark.parametrize("size", [5, len(LARGE)], ids=["one request", "parts"])
def test_an_upload_whose_answer_was_lost_is_done_once(
    object_server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    last = {"s3": "uploadId=", "gcs": "uploadId=", "azure": "blocklist"}[object_server.kind] if size > PART_BYTES else ""
    method = "POST" if last == "uploadId=" else "PUT"
    with rough_store(object_server) as rough:
        store = remote_store(remote_settings(rough.server, tmp_path, monkeypatch))
        rough.cut_answers(1, methods=(method,), matching=last)
        put(store, kept=LARGE[:size])
        assert rough.befallen == 1
        with content(store, "kept") as [read]:
            assert read == LARGE[:size]


def test_a_bucket_that_is_not_there_is_told(object_server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = remote_store(remote_settings(replace(object_server, bucket="no-such-bucket"), tmp_path, monkeypatch))
    for attempt in (lambda: put(store, one=b"x"), lambda: names(store)):
        with pytest.raises(UnavailableError, match="there is no such bucket or container; make it, or mend its name"):
            attempt()
