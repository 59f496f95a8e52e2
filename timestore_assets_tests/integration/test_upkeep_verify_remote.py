"""`verify` looks at what is in the bucket, not at what the read cache kept of it."""

from __future__ import annotations

from pathlib import Path

import obstore
import pytest

from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.bucket_settings import remote_settings
from timestore_assets_tests.support.object_server_fixtures import REAL_S3
from timestore_assets_tests.support.object_servers import S3Server

pytestmark = REAL_S3
READINGS = """\
type: timestore_assets.Dataset
attributes:
  name: readings
  columns: {device: string, at: timestamp, value: double}
  time: at
  start: 2024-01-01
"""


def test_damage_in_the_bucket_is_found_although_the_cache_has_the_object(
    s3_bucket: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "defs" / "readings").mkdir(parents=True)
    (tmp_path / "defs" / "readings" / "defs.yaml").write_text(READINGS, encoding="utf-8")
    file = tmp_path / "a.csv"
    file.write_text(
        "device,at,value\n" + "".join(f"d{n},2024-01-0{1 + n % 3}T00:00:00Z,{n}\n" for n in range(60)), encoding="utf-8"
    )
    with Warehouse.open(remote_settings(s3_bucket, tmp_path, monkeypatch)) as warehouse:
        warehouse.land("readings", [file])
        dataset, record = warehouse.resolve("readings")
        days = [dataset.partition(f"2024-01-0{day}") for day in (1, 2, 3)]
        assert all(report.state == "sealed" for report in warehouse.build("readings", days, close=True))
        with warehouse.sql("SELECT sum(value) AS total FROM readings") as answer:
            assert answer.table().to_pylist() == [{"total": 1770.0}]
        assert warehouse.verify("readings").ok
        damaged = warehouse.catalog.manifest.segments(record.id)[1]
        content = bytearray(bytes(obstore.get(s3_bucket.store(), damaged.name).bytes()))
        content[len(content) // 2] ^= 0xFF
        obstore.put(s3_bucket.store(), damaged.name, bytes(content))
        with warehouse.sql("SELECT sum(value) AS total FROM readings") as answer:
            assert answer.table().to_pylist() == [{"total": 1770.0}], "the cache still has what was written"
        found = warehouse.verify("readings")
        assert [one.object for one in found.findings if one.problem != "content"] == [damaged.name]
        assert not list((tmp_path / "staging").rglob("*.parquet")), "what was fetched for the proof is gone"
