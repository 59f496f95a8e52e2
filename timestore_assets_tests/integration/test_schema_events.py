"""Every version of a schema says what made it: the source, the record, a sample; and whoever asked is told, once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from timestore_assets.catalog.schema_events import forget_samples
from timestore_assets.catalog.tables import alert_messages, backfills, outbox
from timestore_assets.landing.dead_letters.replay import Replayer
from timestore_assets.landing.files.context import BulkLimits
from timestore_assets.landing.requests.ingest import GroupLanders
from timestore_assets.landing.requests.request_queue import QueueLimits
from timestore_assets.landing.requests.submission import Landed, Submission
from timestore_assets.model.dataset import Evolution, FileSource, HttpSource
from timestore_assets.model.errors import FrozenSchemaError
from timestore_assets.segments.publishing import utc_now
from timestore_assets.settings import Settings
from timestore_assets.sources.http.body_formats import BodyContext, read_body
from timestore_assets.sources.http.request_body import BodyLimits
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse, columns, dataset

FILES = FileSource(prefix="inbox")
WEATHER = dataset(*columns(depth="double"), sources=(FILES, HttpSource()))


def line(hour: int, **more: Any) -> dict[str, Any]:
    return {"ts": f"2013-02-01T{hour:02d}:00:00Z", "station": "a", "depth": 1.5, **more}


@pytest.fixture
def warehouse(catalog_url: str, tmp_path: Path) -> Iterator[LandingWarehouse]:
    made = LandingWarehouse.at(tmp_path, WEATHER, url=catalog_url)
    made.catalog.datasets.register(WEATHER, actor="ada")
    yield made
    made.catalog.close()


def events(warehouse: LandingWarehouse, **choice: Any) -> list[dict[str, Any]]:
    return warehouse.catalog.datasets.schema_events(warehouse.record.id, **({"limit": 100} | choice))


def queued(warehouse: LandingWarehouse, kind: str = "schema_changed") -> list[dict[str, Any]]:
    statement = select(outbox.c.payload).where(outbox.c.kind == kind).order_by(outbox.c.id)
    return [json.loads(text) for text in warehouse.catalog.database.read(lambda c: c.execute(statement).scalars().all())]


def messages(warehouse: LandingWarehouse) -> list[tuple[str, dict[str, Any]]]:
    statement = select(alert_messages.c.channel, alert_messages.c.payload).order_by(alert_messages.c.id)
    rows = warehouse.catalog.database.read(lambda c: c.execute(statement).all())
    return [(row.channel, json.loads(row.payload)) for row in rows]


def evolving(warehouse: LandingWarehouse, **policy: Any) -> LandingWarehouse:
    """With another contract, which is declared."""
    changed = warehouse.with_dataset(replace(warehouse.dataset, evolution=Evolution(**policy)))
    changed.catalog.datasets.register(changed.dataset, actor="ada")
    return changed


class TestCauses:
    def test_a_new_column_names_the_record_that_brought_it(self, warehouse: LandingWarehouse) -> None:
        warehouse.land_one("a.jsonl", [line(0), line(1), line(2, gust="7" * 100), line(3, gust=8)])
        newest, first = events(warehouse)
        assert (first["version"], first["changes"], first["cause"]) == (1, [], {"kind": "declaration"})
        assert newest["changes"] == [{"kind": "column_added", "column": "gust", "before": None, "after": "string"}]
        assert (newest["actor"], newest["manifest_version"]) == ("test", warehouse.record.manifest_version)
        cause = newest["cause"]
        assert (cause["kind"], cause["source_kind"], cause["source"]) == ("data", "files", FILES.address)
        found = cause["columns"]["gust"]
        assert found["file"].endswith("a.jsonl")
        assert (found["line"], found["sample"]) == (3, "7" * 59 + "…")
        assert found["position"] == sum(len(json.dumps(line(hour))) + 1 for hour in (0, 1))

    def test_a_widened_type_names_the_first_value_that_did_not_fit(self, warehouse: LandingWarehouse) -> None:
        warehouse.land_one("a.jsonl", [line(0, gust=1)])
        warehouse.land_one("b.jsonl", [line(1, gust=2), line(2, gust=2.5), line(3, gust="still")])
        newest = events(warehouse)[0]
        assert newest["changes"][0] | {"kind": "type_widened"} == newest["changes"][0]
        assert (newest["cause"]["columns"]["gust"]["line"], newest["cause"]["columns"]["gust"]["sample"]) == (2, "2.5")

    def test_a_column_that_may_be_missing_now_is_a_version(self, warehouse: LandingWarehouse) -> None:
        warehouse.land_one("a.jsonl", [line(0)])
        optional = replace(WEATHER, schema=WEATHER.schema.with_columns(*columns(depth="double?")))
        warehouse.catalog.datasets.register(optional, actor="ada")
        newest = events(warehouse)[0]
        change = {"kind": "nullability_relaxed", "column": "depth", "before": "required", "after": "nullable"}
        assert (newest["version"], newest["changes"], newest["actor"]) == (2, [change], "ada")
        assert queued(warehouse)[-1]["changes"] == [change]
        # a process with the file of before is behind, and takes nothing back
        assert warehouse.catalog.datasets.register(WEATHER, actor="old").schema.column("depth").nullable
        without = {key: value for key, value in line(1).items() if key != "depth"}
        assert warehouse.land_one("b.jsonl", [without]).counters.landed == 1
        assert warehouse.rows("depth") == [(1.5,), (None,)]

    def test_a_replay_names_the_record_that_it_replayed(self, warehouse: LandingWarehouse) -> None:
        strict = evolving(warehouse, columns="discard_row")
        strict.land_one("a.jsonl", [line(0), line(1, gust=3)])
        assert strict.codes() == ["unknown_column"]
        lenient = evolving(strict)
        assert Replayer(lenient.context).replay(lenient.dataset, actor="ada").landed == 1
        newest = events(lenient)[0]
        assert (newest["cause"]["kind"], newest["actor"]) == ("replay", "ada")
        found = newest["cause"]["columns"]["gust"]
        assert (found["sample"], found["file"].endswith("a.jsonl")) == ("3", True)

    def test_many_batches_and_parts_name_the_line_in_the_file(self, warehouse: LandingWarehouse) -> None:
        warehouse.bulk = BulkLimits(parallel=1, commit_bytes=1_000_000, batch_rows=2)
        warehouse.land_one("a.jsonl", [*(line(hour) for hour in range(7)), line(8, gust=1)])
        assert events(warehouse)[0]["cause"]["columns"]["gust"]["line"] == 8

    def test_no_sample_of_what_may_be_a_secret(self, warehouse: LandingWarehouse) -> None:
        warehouse.land_one("a.jsonl", [line(0, api_key="hunter2", Password="hunter2", note="open\nsesame")])
        found = events(warehouse)[0]["cause"]["columns"]
        assert {name: one.get("sample") for name, one in found.items()} == {
            "api_key": None,
            "Password": None,
            "note": "open sesame",
        }

    def test_samples_stay_where_the_right_to_read_is_asked_for(self, warehouse: LandingWarehouse) -> None:
        evolving(warehouse, notify=("ops",)).land_one("a.jsonl", [line(0, note="sesame")])
        assert "sesame" in json.dumps(events(warehouse))
        assert "sesame" not in json.dumps(queued(warehouse))
        assert "sesame" not in json.dumps(messages(warehouse))

    def test_samples_can_be_forgotten(self, warehouse: LandingWarehouse) -> None:
        warehouse.land_one("a.jsonl", [line(0, note="sesame")])
        warehouse.catalog.database.write(lambda c: forget_samples(c, warehouse.record.id))
        newest = events(warehouse)[0]
        assert "sesame" not in json.dumps(events(warehouse))
        assert newest["cause"]["columns"]["note"]["line"] == 1

    def test_events_come_in_pages(self, warehouse: LandingWarehouse) -> None:
        for number in range(3):
            warehouse.land_one(f"{number}.jsonl", [line(number, **{f"extra{number}": 1})])
        assert [event["version"] for event in events(warehouse, limit=2)] == [4, 3]
        assert [event["version"] for event in events(warehouse, limit=2, before=3)] == [2, 1]


class Requests:
    """Sends records as a program would."""

    def __init__(self, ground: LandingWarehouse) -> None:
        self.ground = ground
        bounds = replace(QueueLimits.of(Settings()), linger_seconds=0.05, patience_seconds=0.0)
        self.landers = GroupLanders(replace(ground.context, clock=utc_now), bounds=bounds, noticed=lambda _: None)

    def submit(self, name: str, *records: dict[str, Any]) -> Any:
        declared = self.ground.dataset
        limits = BodyLimits(bytes=1_000_000, rows=1000, record_bytes=1 << 20)
        body = read_body(
            json.dumps(records).encode(), "application/json", BodyContext(dataset=declared, source=HttpSource(), limits=limits)
        )
        return self.landers.submit(declared, HttpSource(), Submission(id=name, body=body, actor="me"))


@pytest.fixture
def requests(warehouse: LandingWarehouse) -> Iterator[Requests]:
    made = Requests(warehouse)
    yield made
    made.landers.close()


def test_a_request_is_named_with_the_place_of_the_record(warehouse: LandingWarehouse, requests: Requests) -> None:
    both = [requests.submit("first", line(0), line(1)), requests.submit("second", line(2), line(3, gust=1))]
    assert all(isinstance(one.result(60), Landed) for one in both)
    found = events(warehouse)[0]["cause"]
    assert (found["source_kind"], found["columns"]["gust"]["request"], found["columns"]["gust"]["record"]) == (
        "http",
        "second",
        1,
    )


class TestChannels:
    def test_each_version_is_told_once_to_each_channel(self, warehouse: LandingWarehouse) -> None:
        told = evolving(warehouse, notify=("ops", "mail"))
        told.land_one("a.jsonl", [line(0, gust=1)])
        told.land_one("b.jsonl", [line(1, gust=2.5)])
        told.land_one("c.jsonl", [line(2, gust=3)])
        found = [(channel, message["version"], message["alert"], message["state"]) for channel, message in messages(told)]
        assert found == [(name, version, "schema", "changed") for version in (2, 3) for name in ("ops", "mail")]
        summary = messages(told)[0][1]["summary"]
        assert summary.startswith("weather: schema version 2: gust added as int64 (")
        assert summary.endswith("a.jsonl, line 1)")

    def test_a_declaration_that_names_the_channel_is_told_there_itself(self, warehouse: LandingWarehouse) -> None:
        more = replace(
            WEATHER, schema=WEATHER.schema.with_columns(*columns(gust="double?")), evolution=Evolution(notify=("ops",))
        )
        warehouse.catalog.datasets.register(more, actor="ada")
        assert [(channel, message["cause"]) for channel, message in messages(warehouse)] == [("ops", {"kind": "declaration"})]


class TestModes:
    def test_values_that_do_not_fit_are_null_and_counted(self, warehouse: LandingWarehouse) -> None:
        kept = evolving(warehouse, types="discard_value")
        kept.land_one("a.jsonl", [line(0, gust=1)])
        report = kept.land(kept.drop("b.jsonl", [line(1, gust="strong"), line(2, gust=4), line(3, gust=None)]))
        assert (report.discarded_values, report.ignored_columns) == ({"gust": 1}, {})
        assert kept.rows("gust") == [(1,), (None,), (4,), (None,)]
        assert kept.counters().landed == kept.counters().read == 4
        landed = [row for row in kept.catalog.audit.newest() if row["action"] == "landed"]
        assert [row["details"]["discarded_values"] for row in landed] == [{"gust": 1}, {}]
        assert kept.record.schema.version == 2

    def test_a_declared_column_goes_by_its_declaration(self, warehouse: LandingWarehouse) -> None:
        kept = evolving(warehouse, types="discard_value")
        kept.land_one("a.jsonl", [line(0) | {"temp": "warm"}])
        assert kept.codes() == ["bad_value"]

    @pytest.mark.parametrize(
        ("policy", "second"),
        [({"columns": "freeze"}, line(1, swell=1)), ({"types": "freeze"}, line(1, gust="strong"))],
    )
    def test_under_freeze_a_file_stops_and_the_others_land(
        self, warehouse: LandingWarehouse, policy: dict[str, Any], second: dict[str, Any]
    ) -> None:
        warehouse.land_one("a.jsonl", [line(0, gust=1)])
        frozen = evolving(warehouse, **policy)
        paths = frozen.drop("b.jsonl", [line(1), second]), frozen.drop("c.jsonl", [line(2, gust=2)])
        report = frozen.land(*paths)
        assert [file.state for file in report.files] == ["quarantined", "landed"]
        assert "the schema contract is frozen" in report.files[0].reason
        assert "strong" not in report.files[0].reason
        assert (frozen.counters().read, frozen.counters().landed) == (2, 2)
        assert frozen.record.schema.version == 2

    def test_a_changed_declaration_lets_it_be_tried_again(self, warehouse: LandingWarehouse) -> None:
        frozen = evolving(warehouse, columns="freeze")
        path = frozen.drop("b.jsonl", [line(1, gust=1)])
        assert frozen.land(path).files[0].state == "quarantined"
        assert frozen.catalog.files.quarantined(frozen.record.id) == 1
        lifted = evolving(frozen)
        assert lifted.catalog.files.quarantined(lifted.record.id) == 0
        source = next(one for one in lifted.catalog.sources.of(lifted.record.id) if one.address == FILES.address)
        assert lifted.catalog.files.settled_etags(source.id, [str(path)]) == {}, "the sensor takes it up"
        assert lifted.land(path).files[0].state == "landed"
        assert lifted.counters().read == lifted.counters().landed == 1

    def test_only_the_request_that_asks_for_a_change_is_refused(self, warehouse: LandingWarehouse) -> None:
        sending = Requests(evolving(warehouse, columns="freeze"))
        good, bad, other = (
            sending.submit("good", line(0)),
            sending.submit("bad", line(1), line(2, gust=1)),
            sending.submit("other", line(3)),
        )
        assert good.result(60).outcome.landed == other.result(60).outcome.landed == 1
        with pytest.raises(FrozenSchemaError, match="'gust' is not declared"):
            bad.result(60)
        sending.landers.close()
        assert warehouse.counters().read == warehouse.counters().landed == 2


class TestReloads:
    def test_a_column_that_was_left_out_asks_for_the_files_that_had_it(self, warehouse: LandingWarehouse) -> None:
        strict = evolving(warehouse, columns="discard_value")
        strict.land_one("without.jsonl", [line(0)])
        strict.land_one("with.jsonl", [line(1, gust=1), line(2, gust=2, swell=3), line(3) | {"ts": "2013-02-03T00:00:00Z"}])
        strict.land_one("swell.jsonl", [line(4, swell=5) | {"ts": "2013-02-09T00:00:00Z"}])
        more = replace(strict.dataset, schema=strict.dataset.schema.with_columns(*columns(gust="double?")))
        strict.catalog.datasets.register(more, actor="ada")
        (wanted,) = strict.catalog.datasets.wanted_reloads(strict.record.id)
        assert (wanted["kind"], wanted["columns"], wanted["values"]) == ("ignored_column", ["gust"], {"gust": 2})
        assert [Path(one["address"]).name for one in wanted["files"]] == ["with.jsonl"]
        assert wanted["commands"] == ["timestore reload weather --file with.jsonl"]
        statement = select(backfills.c.state, backfills.c.partitions, backfills.c.schema_version, backfills.c.cost)
        row = strict.catalog.database.read(lambda c: c.execute(statement).one())
        assert (row.state, row.schema_version, len(json.loads(row.partitions))) == ("asked", 2, 2)
        assert json.loads(row.cost) == {"partitions": 2, "files": 1, "values": 2}
        assert queued(strict, "reload_asked")[0]["reason"].startswith("left out before and wanted now: gust (2 values); 1 file")
        assert "reload_asked" in {row["action"] for row in strict.catalog.audit.newest()}

    def test_a_contract_that_leaves_nothing_out_any_more_asks_for_all(self, warehouse: LandingWarehouse) -> None:
        strict = evolving(warehouse, columns="discard_value")
        strict.land_one("a.jsonl", [line(1, gust=1)])
        strict.land_one("b.jsonl", [line(2, swell=1)])
        evolving(evolving(evolving(strict), columns="discard_value"))
        (wanted,) = strict.catalog.datasets.wanted_reloads(strict.record.id)
        assert (wanted["columns"], len(wanted["files"])) == (["gust", "swell"], 2)

    def test_values_of_requests_are_counted_and_not_promised(self, warehouse: LandingWarehouse) -> None:
        strict = evolving(warehouse, columns="discard_value")
        sending = Requests(strict)
        assert sending.submit("one", line(0, gust=1), line(1, gust=2)).result(60).outcome.landed == 2
        sending.landers.close()
        evolving(strict)
        (wanted,) = strict.catalog.datasets.wanted_reloads(strict.record.id)
        assert (wanted["others"], wanted["files"], wanted["ranges"], wanted["commands"]) == (2, [], [], [])

    def test_a_column_that_nobody_left_out_asks_for_nothing(self, warehouse: LandingWarehouse) -> None:
        strict = evolving(warehouse, columns="discard_value")
        strict.land_one("a.jsonl", [line(1, gust=1)])
        more = replace(strict.dataset, schema=strict.dataset.schema.with_columns(*columns(swell="double?")))
        strict.catalog.datasets.register(more, actor="ada")
        assert strict.catalog.datasets.wanted_reloads(strict.record.id) == []
