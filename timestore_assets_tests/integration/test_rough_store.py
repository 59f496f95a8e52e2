"""The proxy between tests and an object store is rough in the way and as often as it is told."""

from __future__ import annotations

from datetime import timedelta

import obstore
import pytest
from obstore.exceptions import BaseError, GenericError, PermissionDeniedError
from obstore.store import ObjectStore

from timestore_assets_tests.support.object_server_fixtures import REAL_S3
from timestore_assets_tests.support.object_servers import ObjectServer
from timestore_assets_tests.support.rough_store import RoughStore, rough_store

pytestmark = REAL_S3
MEBIBYTE = 1 << 20
QUICK = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=5), "base": 2}


def client(rough: RoughStore, retries: int = 5) -> ObjectStore:
    return rough.server.store(retry_config={"max_retries": retries, "backoff": QUICK})


def names(store: ObjectStore) -> list[str]:
    return [found["path"] for found in obstore.list(store).collect()]


def test_it_is_not_noticed_while_it_is_not_rough(object_server: ObjectServer) -> None:
    with rough_store(object_server) as rough:
        store = client(rough)
        obstore.put(store, "a b/ü+1", bytes(6 * MEBIBYTE))
        obstore.put(store, "small", b"12345")
        assert obstore.get_range(store, "a b/ü+1", start=6 * MEBIBYTE - 2, length=2).to_bytes() == bytes(2)
        assert names(store) == ["a b/ü+1", "small"]
        obstore.delete(store, ["small"])
        assert names(object_server.store()) == ["a b/ü+1"]


@pytest.mark.parametrize("status", [500, 503])
def test_refusals_are_used_up(rough_s3: RoughStore, status: int) -> None:
    rough_s3.refuse_next(2, status)
    obstore.put(client(rough_s3), "a", b"x")
    assert (rough_s3.befallen, rough_s3.requests["PUT"]) == (2, 3)


def test_refusals_befall_the_requests_that_are_meant(rough_s3: RoughStore) -> None:
    rough_s3.refuse_next(1, 503, methods=("GET",), matching="list-type")
    store = client(rough_s3, retries=0)
    obstore.put(store, "a", b"x")
    assert obstore.get(store, "a").bytes() == b"x"
    with pytest.raises(GenericError, match="SlowDown"):
        names(store)
    assert names(store) == ["a"]


def test_a_key_that_expired_opens_nothing_until_it_is_renewed(rough_s3: RoughStore) -> None:
    store = client(rough_s3)
    rough_s3.refuse_all(400)
    with pytest.raises(GenericError, match="ExpiredToken"):
        obstore.put(store, "a", b"x")
    rough_s3.refuse_all(403)
    with pytest.raises(PermissionDeniedError):
        obstore.put(store, "a", b"x")
    rough_s3.heal()
    obstore.put(store, "a", b"x")


def test_a_lost_answer_is_a_done_deed(rough_s3: RoughStore) -> None:
    rough_s3.cut_answers(1)
    with pytest.raises(BaseError):
        obstore.put(client(rough_s3, retries=0), "done", b"x")
    assert names(client(rough_s3)) == ["done"]


def test_half_an_upload_is_no_object(rough_s3: RoughStore) -> None:
    rough_s3.cut_uploads(1, after=MEBIBYTE)
    with pytest.raises(BaseError):
        obstore.put(client(rough_s3, retries=0), "half", bytes(4 * MEBIBYTE))
    assert names(client(rough_s3)) == []


def test_an_answer_breaks_off_after_its_bytes(rough_s3: RoughStore) -> None:
    content = b"0123456789" * 100_000
    obstore.put(client(rough_s3), "long", content)
    rough_s3.cut_answers(1, after=300_000)
    rough_s3.forget_counts()
    assert obstore.get(client(rough_s3), "long").bytes() == content
    assert rough_s3.requests["GET"] == 2
    assert len(content) <= rough_s3.sent["GET"] <= len(content) + 300_000


@pytest.mark.parametrize("listings", [1, 2])
def test_new_keys_come_late_into_listings(rough_s3: RoughStore, listings: int) -> None:
    store = client(rough_s3)
    obstore.put(store, "old", b"")
    rough_s3.lag_listings(listings)
    obstore.put(store, "new&young", b"")
    assert [names(store) for _ in range(listings + 1)] == [["old"]] * listings + [["new&young", "old"]]


def test_it_counts_requests_and_bytes(rough_s3: RoughStore) -> None:
    store = client(rough_s3)
    obstore.put(store, "counted", bytes(1000))
    obstore.get_range(store, "counted", start=0, length=10)
    assert (rough_s3.requests, rough_s3.received["PUT"], rough_s3.sent["GET"]) == ({"PUT": 1, "GET": 1}, 1000, 10)
    assert rough_s3.seen == [("PUT", f"/{rough_s3.server.bucket}/counted"), ("GET", f"/{rough_s3.server.bucket}/counted")]
