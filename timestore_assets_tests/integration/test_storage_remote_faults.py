"""What lies between one store and us: lost answers, cut connections, refusals, and errors without a secret in them."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import obstore
import pytest

from timestore_assets.model.errors import BadFileError, ConflictError, StorageFullError, TimestoreError, UnavailableError
from timestore_assets.storage.object_store import Upload
from timestore_assets.storage.remote.remote_store import RemoteStore
from timestore_assets_tests.support.bucket_settings import PART_BYTES, needs_keys, remote_settings, remote_store
from timestore_assets_tests.support.object_server_start import ACCESS_KEY, SECRET_KEY
from timestore_assets_tests.support.object_servers import S3Server
from timestore_assets_tests.support.rough_store import RoughStore

pytestmark = pytest.mark.xdist_group("s3")

LARGE = bytes(range(256)) * (2 * PART_BYTES // 256) + b"and a third part"
Opened = Callable[..., RemoteStore]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Opens a store in a server's bucket. `more`: further settings."""

    def opened(server: S3Server, **more: Any) -> RemoteStore:
        return remote_store(remote_settings(server, tmp_path, monkeypatch, **more))

    return opened


def put(store: RemoteStore, **contents: bytes) -> None:
    folder = store.staging("test")
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    store.promote([Upload(staged=folder / name, name=name) for name in contents])


def failure(attempt: Callable[[], object], *, kind: type[TimestoreError] = UnavailableError) -> str:
    """What the attempt says, after a look that a log's traceback says no more."""
    with pytest.raises(kind) as caught:
        attempt()
    shown = "".join(traceback.format_exception(caught.value))
    for secret in ("<Error>", SECRET_KEY, ACCESS_KEY):
        assert secret not in shown
    return str(caught.value)


def test_another_content_under_a_name_that_is_taken_is_a_conflict(rough_s3: RoughStore, opened: Opened, tmp_path: Path) -> None:
    store = opened(rough_s3.server)
    put(store, one=b"12345")
    rough_s3.cut_answers(1, methods=("PUT",))
    with pytest.raises(ConflictError):
        put(store, one=b"54321")
    store.download("one", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"12345"


def test_what_passes_by_itself_is_tried_again(rough_s3: RoughStore, opened: Opened, tmp_path: Path) -> None:
    store = opened(rough_s3.server)
    rough_s3.refuse_next(2, 503)
    rough_s3.refuse_next(1, 500, methods=("PUT",))
    rough_s3.cut_uploads(2, after=100_000)
    put(store, small=b"s" * 200_000, large=LARGE)
    rough_s3.refuse_next(1, 500)
    rough_s3.cut_answers(2, after=1000, methods=("GET",))
    rough_s3.cut_answers(1, methods=("GET",))
    for name, content in (("large", LARGE), ("small", b"s" * 200_000)):
        store.download(name, tmp_path / name)
        assert (tmp_path / name).read_bytes() == content
    rough_s3.refuse_next(1, 503)
    assert store.ranges("large", [(5, 9), (PART_BYTES, PART_BYTES + 3)]) == [LARGE[5:9], LARGE[PART_BYTES:][:3]]
    rough_s3.refuse_next(1, 503)
    assert [found.name for found in store.list()] == ["large", "small"]
    rough_s3.refuse_next(1, 503)
    store.delete(["large", "small"])
    assert list(store.list()) == []
    assert rough_s3.befallen == 12


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (403, "AccessDenied", r"refused the credentials \(AccessDenied\); check them"),
        (403, "InvalidAccessKeyId", r"refused the credentials \(InvalidAccessKeyId\)"),
        (400, "ExpiredToken", "have expired; renew them"),
        (403, "RequestTimeTooSkewed", "this machine's clock is off"),
        (503, "SlowDown", r"asks for fewer requests \(SlowDown\).*TIMESTORE_STORAGE_CONCURRENCY"),
        (500, "InternalError", r"failed by itself \(500 InternalError\)"),
        (301, "PermanentRedirect", "is in another region"),
        (404, "NoSuchBucket", "there is no such bucket"),
    ],
)
def test_a_refusal_says_what_to_do_and_no_secret(
    rough_s3: RoughStore, opened: Opened, tmp_path: Path, status: int, code: str, says: str
) -> None:
    store = opened(rough_s3.server, storage_retry_seconds=1)
    rough_s3.refuse_all(status, code=code)
    attempts = (
        lambda: put(store, one=b"x"),
        lambda: list(store.list()),
        lambda: store.delete(["one"]),
        lambda: store.download("one", tmp_path / "back"),
    )
    for attempt in attempts[: 4 if status < 500 else 1]:
        text = failure(attempt)
        assert f"storage target default ({rough_s3.server.uri})" in text
        assert re.search(says, text)


def test_no_room_is_told_apart(rough_s3: RoughStore, opened: Opened) -> None:
    store = opened(rough_s3.server, storage_retry_seconds=0)
    rough_s3.refuse_next(1, 507, code="InsufficientStorage", methods=("PUT",))
    assert "no room left" in failure(lambda: put(store, one=b"x"), kind=StorageFullError)
    rough_s3.refuse_next(1, 507, code="InsufficientStorage", methods=("POST",))
    assert "no room left" in failure(lambda: put(store, one=LARGE), kind=StorageFullError)


def test_wrong_keys_a_missing_bucket_and_no_server(s3_server: S3Server, opened: Opened, tmp_path: Path) -> None:
    needs_keys(s3_server)
    wrong = opened(replace(s3_server, secret_key=f"{SECRET_KEY}-else"))
    assert "refused the credentials (SignatureDoesNotMatch)" in failure(lambda: put(wrong, one=b"x"))
    nobody = opened(replace(s3_server, access_key="AKIANOBODY"))
    assert "refused the credentials" in failure(lambda: list(nobody.list()))
    gone = opened(replace(s3_server, bucket="no-such-bucket"))
    for attempt in (lambda: put(gone, one=b"x"), lambda: list(gone.list()), lambda: gone.download("one", tmp_path / "back")):
        assert "there is no such bucket or container; make it, or mend its name" in failure(attempt)
    silent = opened(s3_server.through("http://127.0.0.1:9"), storage_retry_seconds=0)
    assert "can't be reached" in failure(lambda: put(silent, one=b"x"))


def test_a_store_that_does_not_answer_is_not_waited_for(rough_s3: RoughStore, opened: Opened) -> None:
    store = opened(rough_s3.server, storage_timeout_seconds=1, storage_retry_seconds=0)
    rough_s3.delay_seconds = 3.0
    assert "did not answer in time" in failure(lambda: list(store.list()))


def test_a_damaged_object_is_never_handed_on(s3_bucket: S3Server, opened: Opened, tmp_path: Path) -> None:
    store = opened(s3_bucket)
    put(store, one=b"12345")
    checksum = obstore.get(s3_bucket.store(), "one").attributes["sha256"]
    obstore.put(s3_bucket.store(), "one", b"12395", attributes={"sha256": checksum})
    with pytest.raises(BadFileError, match=r"one in storage target default .* is damaged"):
        store.download("one", tmp_path / "back")


def test_a_disk_that_takes_no_staged_files_is_one_sentence(s3_bucket: S3Server, opened: Opened, tmp_path: Path) -> None:
    store = opened(s3_bucket)
    put(store, one=b"12345")
    (tmp_path / "staging").rename(tmp_path / "elsewhere")
    (tmp_path / "staging").write_text("a file in the folder's place")
    assert f"storage {tmp_path}/staging/default can't be used" in failure(lambda: opened(s3_bucket).staging("test"))
    assert "can't be used" in failure(lambda: store.fetch("one", tmp_path / "no-such-folder" / "back"))
