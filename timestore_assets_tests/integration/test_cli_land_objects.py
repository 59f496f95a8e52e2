"""`land` and `build --reload` over a bucket: URIs, folders and globs of a store, and what the sources hold of a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from timestore_assets_tests.support.bucket_source import IN, csv, declaration, keys, parquet, put, reaching
from timestore_assets_tests.support.command_line import CommandLine
from timestore_assets_tests.support.dagster_deployment import DECLARATION
from timestore_assets_tests.support.object_servers import ObjectServer, S3Server
from timestore_assets_tests.support.rough_store import RoughStore

COUNTS = ("read", "landed", "duplicates", "dead_letters")


def shell(folder: Path, server: ObjectServer, below: str = "", **options: str) -> CommandLine:
    line = CommandLine(folder)
    line.environment |= reaching(server)
    path = line.home / "defs" / "readings" / "defs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(declaration(server, below, **options))
    return line


def counts(report: dict[str, int]) -> tuple[int, ...]:
    return tuple(report[name] for name in COUNTS)


def test_what_uris_mean(object_server: ObjectServer, tmp_path: Path) -> None:
    line = shell(tmp_path, object_server)
    place = f"{object_server.uri}/{IN}"
    for name, day in (("a.csv", 1), ("sub/b.csv", 2), ("sub/c.csv", 3), ("sub/_d.csv", 4)):
        put(object_server, name, csv(day))
    put(object_server, "e.parquet", parquet({"device": ["a"], "at": ["2024-01-05"], "value": [1.0]}))
    found = line.inside("land", "readings", f"{place}a.csv", f"{place}sub/", f"{place}*.csv", "--json").json
    assert counts(found) == (9, 9, 0, 0)
    assert [file["address"] for file in found["files"]] == ["a.csv", "sub/b.csv", "sub/c.csv"]
    assert counts(line.inside("land", "readings", f"{place}sub/[bc].csv", "--json").json) == (6, 0, 6, 0)
    assert counts(line.inside("land", "readings", place, "--json").json) == (10, 1, 9, 0)
    local = tmp_path / "local.csv"
    local.write_bytes(csv(9))
    found = line.inside("land", "readings", str(local), "--json").json
    assert (found["landed"], found["files"][0]["address"]) == (3, str(local))


@pytest.mark.xdist_group("s3")
def test_what_names_nothing_or_cannot_be_reached_is_one_sentence(s3_bucket: S3Server, tmp_path: Path) -> None:
    line = shell(tmp_path, s3_bucket)
    put(s3_bucket, "a.csv", csv(1))
    for uri, code, text in (
        (f"{s3_bucket.uri}/{IN}b.csv", 2, "there is no object"),
        (f"{s3_bucket.uri}/{IN}b/", 2, "there is no object to land below"),
        (f"{s3_bucket.uri}/{IN}*.parquet", 2, "no object matches"),
        ("s3://no-such-bucket/a/", 1, "no such bucket"),
        ("s3://user:hidden@bucket/a", 2, "names no bucket"),
        ("ftp://host/a.csv", 2, "ftp:// can't be read"),
    ):
        found = line.inside("land", "readings", uri)
        assert (found.code, text in found.err, "hidden" in found.err) == (code, True, False), found.err
    line.environment["AWS_SECRET_ACCESS_KEY"] = "wrong-and-hidden"
    found = line.inside("land", "readings", f"{s3_bucket.uri}/{IN}")
    assert (found.code, "refused the credentials" in found.err, "hidden" in found.err) == (1, True, False), found.err
    assert "name the files to land, or give --from" in line.inside("land", "readings").err


@pytest.mark.xdist_group("s3")
def test_landed_objects_are_put_away(s3_bucket: S3Server, tmp_path: Path) -> None:
    line = shell(tmp_path, s3_bucket, after="rename")
    put(s3_bucket, "a.csv", csv(1))
    assert line.inside("land", "readings", f"{s3_bucket.uri}/{IN}", "--json").json["landed"] == 3
    assert keys(s3_bucket) == [f"{IN}a.csv.processed"]


@pytest.mark.xdist_group("s3")
def test_a_backfill_of_a_window_lists_and_reads_its_prefixes_alone(rough_s3: RoughStore, tmp_path: Path) -> None:
    server = rough_s3.server
    line = shell(tmp_path, server, "{window:%Y/%m/%d}/")
    for day in range(1, 9):
        put(server, f"2024/01/{day:02}/x.csv", csv(day))
    rough_s3.forget_counts()
    found = line.inside("land", "readings", "--from", "2024-01-03", "--to", "2024-01-05", "--json").json
    assert [file["address"] for file in found["files"]] == ["2024/01/03/x.csv", "2024/01/04/x.csv"]
    assert counts(found) == (6, 6, 0, 0)
    asked = {target for method, target in rough_s3.seen if method in ("GET", "HEAD") and "list-type" not in target}
    assert len(asked) == 2, asked
    assert len([target for _, target in rough_s3.seen if "list-type" in target]) == 1
    assert line.inside("land", "readings", "--from", "2024-01-03", "--to", "2024-01-05", "--json").json["files"] == []
    put(server, "2024/01/03/y.csv", csv(3, value=5.0))
    built = line.inside("build", "readings", "--partition", "2024-01-03", "--reload", "--json").json
    assert (built["landed"], built["built"], built["rows"], built["superseded_rows"]) == (3, 1, 3, 3)
    built = line.inside("build", "readings", "--from", "2024-01-07", "--reload", "--json").json
    assert (built["landed"], sorted(one["partition"] for one in built["partitions"])) == (6, ["2024-01-07", "2024-01-08"])


def test_a_local_prefix_with_a_time_in_it(tmp_path: Path) -> None:
    line = CommandLine(tmp_path)
    path = line.home / "defs" / "readings" / "defs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(DECLARATION.replace("inbox/readings/", '"inbox/day={window:%Y-%m-%d}/"'))
    for day in (1, 2, 3):
        folder = line.home / f"inbox/day=2024-01-{day:02}"
        folder.mkdir(parents=True)
        (folder / "x.csv").write_bytes(csv(day))
    found = line.inside("land", "readings", "--from", "2024-01-02", "--to", "2024-01-03", "--json").json
    assert [(file["address"], file["state"]) for file in found["files"]] == [("day=2024-01-02/x.csv", "landed")]
    found = line.inside("land", "readings", "--from", "2024-01-01", "--json").json
    assert sorted(file["address"] for file in found["files"]) == ["day=2024-01-01/x.csv", "day=2024-01-03/x.csv"]
    assert counts(found) == (6, 6, 0, 0)
