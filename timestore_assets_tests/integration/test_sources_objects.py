"""Objects as files, on real stores: what identifies them, how they are read, listed, and put away."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import obstore
import pyarrow.parquet as pq
import pytest

from timestore_assets.landing.files.file_job import archive
from timestore_assets.model.dataset import FileSource
from timestore_assets.model.errors import BadFileError, InputError, UnavailableError
from timestore_assets.model.time_path import parse_time_path
from timestore_assets.sources.files.open_reader import open_reader
from timestore_assets.sources.objects.bucket_listing import ObjectFolder
from timestore_assets.sources.objects.object_file import ObjectFile
from timestore_assets.sources.objects.object_stream import BLOCK_BYTES
from timestore_assets_tests.support.bucket_source import IN, csv, folder, keys, parquet, put, reach
from timestore_assets_tests.support.object_servers import ObjectServer, S3Server
from timestore_assets_tests.support.rough_store import RoughStore


@pytest.fixture
def server(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    reach(object_server, monkeypatch)
    return object_server


@pytest.fixture
def bucket(s3_bucket: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    reach(s3_bucket, monkeypatch)
    return s3_bucket


@pytest.fixture
def rough(rough_s3: RoughStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[RoughStore]:
    reach(rough_s3.server, monkeypatch)
    yield rough_s3
    rough_s3.heal()


def listed(found: ObjectFolder, **between: str) -> list[str]:
    return [file.address for page in found.pages(**between) for file in page.files]


def test_a_listing_is_ordered_goes_on_anywhere_and_agrees_with_the_objects(server: ObjectServer) -> None:
    names = ["a.csv", "b/1.csv", "b/2 with é.csv", "b/3.csv", "c.csv"]
    for name in (*names, ".hidden.csv", "_tmp/x.csv", "b/4.csv.part", "empty-folder"):
        put(server, name, b"" if name == "empty-folder" else name.encode())
    obstore.put(server.store(), "rawer/x.csv", b"no")
    here = folder(server)
    assert listed(here) == names
    assert listed(here, after="b/1.csv") == names[2:]
    assert listed(here, after="b", before="b/3.csv") == names[1:3]
    for page in here.pages():
        for file in page.files:
            identity = here.file(file.address).identify()
            assert (identity.etag, identity.size) == (file.etag, file.size), "what is settled must be recognised in a listing"


def test_a_file_is_read_as_it_was_when_it_was_identified(server: ObjectServer) -> None:
    content = hashlib.shake_256(b"text").digest(2 * BLOCK_BYTES)
    put(server, "large.bin", content)
    file = folder(server).file("large.bin")
    assert file.identify().size == len(content)
    with file.open() as stream:
        assert stream.read(1000) == content[:1000]
        put(server, "large.bin", content[::-1])
        stream.seek(BLOCK_BYTES)
        with pytest.raises(BadFileError) as error:
            stream.read(10)
    assert error.value.code == "changed_while_reading"
    with pytest.raises(BadFileError) as error:
        folder(server).file("nothing.csv").identify()
    assert error.value.code == "missing"


def test_content_is_recognised_elsewhere_where_the_etag_tells_it(server: ObjectServer) -> None:
    for name, content in (("a.csv", b"same"), ("copy.csv", b"same"), ("b.csv", b"else")):
        put(server, name, content)
    here = folder(server)
    a, copy, b = (here.file(name).identify().sha256 for name in ("a.csv", "copy.csv", "b.csv"))
    assert a != b
    assert (a == copy) == (server.kind == "s3")
    assert here.file("a.csv").identify().sha256 == a


def test_a_landed_object_is_deleted_or_renamed_unless_it_is_another_by_now(server: ObjectServer) -> None:
    source = {after: FileSource(prefix=IN, after=after) for after in ("delete", "rename")}
    for name in ("delete.csv", "rename.csv", "rename.csv.processed", "changed.csv"):
        put(server, name, b"t\n")
    here = folder(server)
    for after in ("delete", "rename"):
        file = here.file(f"{after}.csv")
        archive(source[after], file, file.identify().etag)
    file = here.file("changed.csv")
    etag = file.identify().etag
    put(server, "changed.csv", b"t2\n")
    archive(source["delete"], file, etag)
    assert keys(server) == [f"{IN}{name}" for name in ("changed.csv", "rename.csv.1.processed", "rename.csv.processed")]
    assert listed(here) == ["changed.csv"]


@pytest.mark.xdist_group("s3")
def test_a_key_that_cannot_be_read_is_named(bucket: S3Server) -> None:
    client = bucket.client()
    client.put_object(Bucket=bucket.bucket, Key=f"{IN}new\nline.csv", Body=b"x")
    client.close()
    with pytest.raises(InputError, match="control character") as error:
        listed(folder(bucket))
    assert r"'raw/new\nline.csv'" in str(error.value)


@pytest.mark.xdist_group("s3")
def test_only_folders_of_a_time_are_listed(bucket: S3Server) -> None:
    for day in range(1, 6):
        put(bucket, f"2024/01/{day:02}/x.csv", csv(day))
    put(bucket, "2024/01/03/sub/y.parquet", b"y")
    put(bucket, "2024/01/stray.csv", b"z")
    times = parse_time_path("x/{window:%Y/%m/%d}/")
    here = folder(bucket)
    timed = ObjectFolder(bucket=here.bucket, root=here.root, glob="**/*.csv", times=times)
    assert listed(timed, after="2024/01/02/", before="2024/01/04/") == ["2024/01/02/x.csv", "2024/01/03/x.csv"]
    assert len(listed(timed)) == 5


@pytest.mark.xdist_group("s3")
def test_a_small_file_costs_a_request_for_its_looks_and_few_for_its_content(rough: RoughStore) -> None:
    put(rough.server, "a.csv", csv(1))
    file = folder(rough.server).file("a.csv")
    identity = file.identify()
    rough.forget_counts()
    reader = open_reader(file, FileSource(prefix=IN), etag=identity.etag)
    assert sum(len(batch.records) for batch in reader.batches()) == 3
    assert dict(rough.requests) == {"GET": 1}


@pytest.mark.xdist_group("s3")
def test_parquet_is_read_in_few_requests(rough: RoughStore) -> None:
    rows = 200_000
    random = np.random.default_rng(1)
    content = parquet({f"c{n}": random.random(rows) for n in range(12)}, row_group_size=50_000, compression="none")
    put(rough.server, "a.parquet", content)
    file = folder(rough.server).file("a.parquet")
    identity = file.identify()
    rough.forget_counts()
    reader = open_reader(file, FileSource(prefix=IN), etag=identity.etag)
    assert sum(batch.records.num_rows for batch in reader.batches()) == rows
    assert rough.requests["GET"] <= len(content) // BLOCK_BYTES + 6
    assert rough.sent["GET"] <= len(content) + 3 * BLOCK_BYTES
    assert pq.read_table(file.for_arrow(), columns=["c3"]).num_rows == rows


@pytest.mark.xdist_group("s3")
def test_cut_and_refused_answers_are_asked_for_again(rough: RoughStore) -> None:
    content = hashlib.shake_256(b"text").digest(2 * BLOCK_BYTES)
    put(rough.server, "large.bin", content)
    file = folder(rough.server).file("large.bin")
    file.identify()
    rough.cut_answers(2, after=1000, methods=("GET",))
    rough.refuse_next(2, 503, methods=("GET",))
    with file.open() as stream:
        assert stream.read() == content
    assert rough.befallen == 4


@pytest.mark.xdist_group("s3")
def test_an_object_that_is_archived_or_refused_is_a_bad_file_and_no_reason_to_stop(rough: RoughStore) -> None:
    put(rough.server, "a.csv", csv(1))
    file = folder(rough.server).file("a.csv")
    file.identify()
    rough.refuse_next(1, 403, code="InvalidObjectState", methods=("GET",))
    with file.open() as stream, pytest.raises(BadFileError) as error:
        stream.read(1)
    assert error.value.code == "archived"
    rough.refuse_next(1, 403, methods=("HEAD",))
    with pytest.raises(BadFileError) as error:
        file.identify()
    assert error.value.code == "unreadable"


@pytest.mark.xdist_group("s3")
def test_a_store_that_refuses_is_one_sentence_without_a_secret(rough: RoughStore) -> None:
    put(rough.server, "a.csv", csv(1))
    here = folder(rough.server)
    rough.refuse_all(403)
    for attempt in (lambda: here.file("a.csv").identify(), lambda: listed(here)):
        with pytest.raises(UnavailableError) as error:
            attempt()
        assert rough.server.uri in str(error.value)
        assert "rough" not in str(error.value)
    assert "secret" not in repr(ObjectFile(here.bucket, "a.csv")).lower()
