"""The object stores that tests run on do what the adapters build on, each as far as it goes."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError, PermissionDeniedError, PreconditionError
from obstore.store import ObjectStore

from timestore_assets_tests.support.object_server_fixtures import REAL_S3
from timestore_assets_tests.support.object_servers import ObjectServer, S3Server

MEBIBYTE = 1 << 20
# Azurite does not know the listing's `startFrom` and lists all
IGNORES_LIST_OFFSET = {"azure"}
ETAG_IS_MD5 = {"s3": True, "azure": False, "gcs": False}


def put_new(store: ObjectStore, path: str, content: bytes) -> bool:
    try:
        obstore.put(store, path, content, mode="create")
    except AlreadyExistsError:
        return False
    return True


def test_a_name_is_created_once_however_many_try(object_server: ObjectServer) -> None:
    store = object_server.store()
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda number: put_new(store, "once", b"%d" % number), range(16)))
    assert sum(created) == 1
    assert obstore.get(store, "once").bytes() == b"%d" % created.index(True)


def test_parts_make_one_object_and_ranges_read_it(object_server: ObjectServer) -> None:
    content = hashlib.shake_256(b"parts").digest(12 * MEBIBYTE)
    store = object_server.store("some/where")
    obstore.put(store, "large", content)
    assert obstore.head(store, "large")["size"] == len(content)
    assert obstore.get_range(store, "large", start=5 * MEBIBYTE - 3, length=7).to_bytes() == content[5 * MEBIBYTE - 3 :][:7]
    assert hashlib.sha256(obstore.get(store, "large").bytes()).digest() == hashlib.sha256(content).digest()


def test_a_range_is_read_of_the_content_that_was_meant(object_server: ObjectServer) -> None:
    store = object_server.store()
    obstore.put(store, "changing", b"before")
    before = obstore.head(store, "changing")["e_tag"]
    assert obstore.get(store, "changing", options={"range": (0, 3), "if_match": before}).bytes() == b"bef"
    obstore.put(store, "changing", b"after!")
    with pytest.raises(PreconditionError):
        obstore.get(store, "changing", options={"range": (0, 3), "if_match": before})


def test_listings_are_ordered_and_go_on_after_a_name(object_server: ObjectServer) -> None:
    store = object_server.store("in")
    for number in range(30):
        obstore.put(store, f"list/{number:02}", b"")
    obstore.put(store, "listed/not", b"")
    names = [found["path"] for found in obstore.list(store, "list").collect()]
    assert names == [f"list/{number:02}" for number in range(30)]
    after = [found["path"] for found in obstore.list(store, "list", offset="list/26").collect()]
    assert after == (names if object_server.kind in IGNORES_LIST_OFFSET else names[27:])


def test_many_are_deleted_by_one_call(object_server: ObjectServer) -> None:
    store = object_server.store()
    names = [f"gone/{number}" for number in range(20)]
    for name in [*names, "kept"]:
        obstore.put(store, name, b"x")
    obstore.delete(store, names)
    assert [found["path"] for found in obstore.list(store).collect()] == ["kept"]


def test_the_etag_is_the_digest_of_the_content_where_it_is_said_to_be(object_server: ObjectServer) -> None:
    store = object_server.store()
    obstore.put(store, "small", b"content")
    etag = obstore.head(store, "small")["e_tag"] or ""
    assert (etag.strip('"') == hashlib.md5(b"content").hexdigest()) is ETAG_IS_MD5[object_server.kind]


@REAL_S3[0]
def test_only_the_right_key_gets_in_and_it_is_not_shown(s3_server: S3Server) -> None:
    if s3_server.product != "versitygw":
        pytest.skip(f"not proven: {s3_server.product} lets everybody in")
    assert s3_server.secret_key not in repr(s3_server)
    with pytest.raises(PermissionDeniedError):
        obstore.put(s3_server.store(config={"secret_access_key": "wrong"}), "mine", b"")
