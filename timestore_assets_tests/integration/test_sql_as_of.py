"""SQL from older versions, through every door, over a dataset that was landed, built, migrated, retracted and rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import adbc_driver_manager
import grpc
import pytest

from timestore_assets import TimestoreClient
from timestore_assets.in_process import Timestore
from timestore_assets.model.errors import InputError, RefusedError
from timestore_assets.model.question import Question
from timestore_assets.model.row_selector import FileRows
from timestore_assets.service.flight.flight_messages import packed
from timestore_assets.settings import Settings
from timestore_assets.upkeep.collect import collect
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.flight_clients import HEADER, RawFlight, adbc, ask, descriptor, readings
from timestore_assets_tests.support.http_service import HttpService, serving
from timestore_assets_tests.support.migrations import drop, manifest, rename

POWER: dict[str, Any] = {
    "columns": {"at": {"type": "timestamp"}, "watts": {"type": "double"}, "user": {"type": "string", "nullable": True}},
    "time": "at",
    "start": "2024-01-01",
    "window": "day",
    "sources": [{"files": {"prefix": "inbox/power/"}}],
}
ROOMS: dict[str, Any] = {
    **POWER,
    "columns": {"at": {"type": "timestamp"}, "room": {"type": "string"}},
    "sources": [{"files": {"prefix": "inbox/rooms/"}}],
}
AS_OF = f"{HEADER}timestore-as-of"


@dataclass
class Ground:
    """`versions`: of `power`, with the time at which each had just come to be."""

    warehouse: Warehouse
    versions: dict[int, datetime] = field(default_factory=dict)

    def land(self, dataset: str, name: str, text: str) -> None:
        path = self.warehouse.settings.home_folder / "inbox" / dataset / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.warehouse.land(dataset, [path])
        self.note()

    def build(self) -> None:
        for _ in self.warehouse.build("power", [one.partition for one in self.warehouse.partitions("power")], close=True):
            pass
        self.note()

    def note(self) -> None:
        self.versions.setdefault(self.version, datetime.now(UTC))

    @property
    def version(self) -> int:
        return self.warehouse.resolve("power")[1].manifest_version

    def rows(self, text: str, as_of: Any = None) -> list[dict[str, Any]]:
        with self.warehouse.sql(text, as_of=as_of) as answer:
            found: list[dict[str, Any]] = answer.table().to_pylist()
            return found

    def asked(self, version: int, **more: Any) -> list[dict[str, Any]]:
        with self.warehouse.ask(Question(dataset="power", as_of=version, **more)) as answer:
            found: list[dict[str, Any]] = answer.table().to_pylist()
            return found


def lived(warehouse: Warehouse) -> Ground:
    """`power` as it came to be: version 2 is tagged `landed`, and 1 is of before `rooms` had its only row, in its version 1."""
    ground = Ground(warehouse)
    warehouse.declare("power", POWER, actor="test")
    warehouse.declare("rooms", ROOMS, actor="test")
    warehouse.declare("weather", {**POWER, "columns": WEATHER, "time": "ts", "sources": [{"http": {}}]}, actor="test")
    ground.land("power", "a.csv", "at,watts,user\n2024-01-01,1,ann\n2024-01-01T01:00:00Z,2,bob\n")
    ground.land("rooms", "r.csv", "at,room\n2024-01-01,hall\n")
    ground.land("power", "b.csv", "at,watts,user\n2024-01-01T02:00:00Z,30,eve\n2024-01-02,4,\n")
    warehouse.tag("power", "landed", version=2, actor="test")
    ground.build()
    warehouse.migrate(manifest("power", rename("watts", "kw"), drop("user")), actor="test")
    ground.note()
    ground.land("power", "c.csv", "at,kw\n2024-01-03,5\n")
    warehouse.retract("power", FileRows(address="b.csv"))
    ground.note()
    ground.build()
    warehouse.rollback("power", 2, may_null=True)
    ground.note()
    ground.land("power", "d.csv", "at,watts,user\n2024-01-04,6,zoe\n")
    return ground


WEATHER = {"ts": {"type": "timestamp"}, "station": {"type": "string"}, "temp": {"type": "double"}}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    settings = Settings(home=tmp_path_factory.mktemp("sql-as-of") / "home", flight_address="127.0.0.1:0")
    with Warehouse.open(settings) as warehouse:
        yield lived(warehouse)


@pytest.fixture(scope="module")
def http(ground: Ground) -> Iterator[HttpService]:
    with serving(ground.warehouse) as served:
        yield served


def test_every_version_is_in_sql_what_it_is_in_a_query(ground: Ground) -> None:
    assert len(ground.versions) >= 8 and ground.version == max(ground.versions)
    seen = set()
    for version, then in ground.versions.items():
        rows = ground.asked(version)
        for as_of in (version, str(version), then, {"power": version}, {"POWER": then}):
            assert ground.rows("SELECT * FROM power ORDER BY ALL", as_of) == sorted(rows, key=lambda one: one["at"]), version
        assert [one["column_name"] for one in ground.rows("DESCRIBE power", version)] == list(rows[0])
        figure = next(name for name in rows[0] if name in ("watts", "kw"))
        some = ground.asked(version, where=f"{figure} < 10", end=datetime(2024, 1, 3, tzinfo=UTC))
        text = f"SELECT * FROM power WHERE {figure} < 10 AND \"at\" < '2024-01-03' ORDER BY ALL"
        assert ground.rows(text, version) == sorted(some, key=lambda one: one["at"])
        seen.add((tuple(rows[0]), len(rows)))
    assert {("at", "watts", "user"), ("at", "kw")} == {names for names, _ in seen}
    assert {count for _, count in seen} >= {2, 3, 4, 5}, "the retraction hid rows, and the rollback showed them"


def test_a_column_that_was_dropped_is_there_and_a_new_name_is_not(ground: Ground) -> None:
    migrated = next(version for version in ground.versions if "kw" in ground.asked(version)[0])
    assert ground.rows("SELECT user FROM power WHERE watts = 1", "landed") == [{"user": "ann"}]
    assert ground.rows("SELECT sum(kw) AS kw FROM power", migrated) == [{"kw": 37.0}]
    with pytest.raises(InputError, match='"kw" not found'):
        ground.rows("SELECT kw FROM power", "landed")
    with pytest.raises(RefusedError, match="no dataset has a column of that name"):
        ground.rows("SELECT user FROM power", migrated)


BOTH = "SELECT (SELECT count(*) FROM power) AS power, (SELECT count(*) FROM rooms) AS rooms"


def test_a_time_is_of_each_dataset_and_the_answer_says_which_versions(ground: Ground) -> None:
    with ground.warehouse.sql(BOTH, as_of=ground.versions[1]) as answer:
        assert answer.table().to_pylist() == [{"power": 2, "rooms": 0}]
        assert answer.manifest_versions == {"power": 1, "rooms": 0} and answer.manifest_version is None
    with ground.warehouse.sql(BOTH, as_of={"power": 1}) as answer:
        assert answer.table().to_pylist() == [{"power": 2, "rooms": 1}], "what is not named is as it is now"
        assert answer.manifest_versions == {"power": 1, "rooms": 1}
    assert ground.rows(BOTH, {"power": "landed", "rooms": 0}) == [{"power": 4, "rooms": 0}]
    assert ground.rows("SELECT 1 AS one", 99) == [{"one": 1}]
    assert {one["name"] for one in ground.rows("SHOW TABLES", "landed")} == {"power", "rooms", "weather"}


@pytest.mark.parametrize(
    ("text", "as_of", "said"),
    [
        (BOTH, 1, r"as of 1: a number is a version of one dataset, and the statement reads power, rooms; .* as power=1"),
        (BOTH, "landed", r"dataset 'rooms' has no tag 'landed'; its tags: none$"),
        (BOTH, "gone", r"dataset 'power' has no tag 'gone'; its tags: landed; dataset 'rooms' has no tag 'gone'"),
        (BOTH, {"power": "gone"}, r"^dataset 'power' has no tag 'gone'; its tags: landed$"),
        (BOTH, {"pwer": 1}, r"does not read 'pwer'; it reads power, rooms"),
        ("SELECT 1", {"power": 1}, r"does not read 'power'; it reads no dataset"),
        (BOTH, "2001-01-01", r"there was no dataset 'power' at 2001-01-01"),
        (BOTH, {}, r"no dataset is named"),
        (BOTH, "ü", r"is no version, time or tag"),
        ("SELECT * FROM power", 99, r"dataset 'power' has no version 99; the newest is"),
        ("DESCRIBE power", 99, r"dataset 'power' has no version 99; the newest is"),
        ("SELECT * FROM power AT (VERSION => 1)", None, r"AT is not available here; --as-of"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(ground: Ground, text: str, as_of: Any, said: str) -> None:
    with pytest.raises((InputError, RefusedError), match=said):
        ground.rows(text, as_of)


def test_over_http(ground: Ground, http: HttpService) -> None:
    text = "SELECT sum(watts) AS w FROM power"

    def run(as_of: Any, path: str = "/sql", **body: Any) -> Any:
        return http.client.post(path, json={**({"sql": text} if path == "/sql" else {}), "asOf": as_of, **body})

    saved = http.client.put("/saved-queries/total", json={"sql": text})
    assert saved.status_code == 201, saved.text
    for path in ("/sql", "/saved-queries/total/run"):
        for as_of, watts in ((1, 3.0), ("landed", 37.0), ({"power": 1}, 3.0), (None, 48.0)):
            found = run(as_of, path)
            assert found.status_code == 200 and found.json()["rows"] == [{"w": watts}], found.text
        assert run("landed", path).json()["manifestVersions"] == {"power": 2}
        for wrong, status in ((99, 422), ("gone", 422), (-1, 422), (True, 422), ({}, 422), ({"power": None}, 422), ([1], 422)):
            refused = run(wrong, path)
            assert refused.status_code == status, (wrong, refused.text)
            assert refused.headers["content-type"].startswith("application/problem+json")
    migrated = next(version for version in ground.versions if "kw" in ground.asked(version)[0])
    assert 'watts" not found' in run(migrated).json()["detail"]


def test_the_clients_take_it(ground: Ground, http: HttpService) -> None:
    text = "SELECT count(*) AS n FROM power"
    http.client.put("/saved-queries/number", json={"sql": text})
    then = ground.versions[1]
    with TimestoreClient(http.url) as client:
        here = Timestore(ground.warehouse)
        for as_of in (1, "1", {"power": 1}, {"power": then}, then - timedelta(microseconds=1)):
            for found in (
                client.sql(text, as_of=as_of),
                client.saved_query("number", as_of=as_of),
                here.sql(text, as_of=as_of),
                here.query(text, as_of=as_of),
            ):
                assert found.arrow().to_pylist() == [{"n": 2}] and found.manifest_versions == {"power": 1}
    with pytest.raises(InputError, match="no keyword argument but as_of, here is 'limit'"):
        here.query(text, as_of=1, limit=3)


def test_adbc_sets_it_for_a_connection_or_a_statement(ground: Ground, http: HttpService) -> None:
    everything = "SELECT * FROM power ORDER BY ALL"
    now = ask(http.flight, everything)
    for as_of in ("landed", "2", "power=2", "power=landed"):
        then = ask(http.flight, everything, **{AS_OF: as_of})
        assert then.column_names == ["at", "watts", "user"] and then.num_rows == 4 < now.num_rows
    migrated = next(version for version in ground.versions if "kw" in ground.asked(version)[0])
    with adbc(http.flight) as cursor:
        cursor.adbc_statement.set_options(**{AS_OF: str(migrated)})
        cursor.execute(everything)
        assert cursor.fetch_arrow_table().column_names == ["at", "kw"]
        cursor.execute("SELECT count(*) FROM power WHERE kw > ?", [3.0])
        assert cursor.fetchall() == [(2,)]
        cursor.adbc_statement.set_options(**{AS_OF: "landed"})
        with pytest.raises(adbc_driver_manager.Error, match=r"several values \(\d; landed\); set it to '' before"):
            cursor.execute(everything)
        cursor.adbc_statement.set_options(**{AS_OF: ""})
        cursor.adbc_statement.set_options(**{AS_OF: "power=2, rooms=0"})
        cursor.execute(BOTH)
        assert cursor.fetchall() == [(4, 0)]
    assert ask(http.flight, everything).equals(now), "what was described for others is no answer of now"


@pytest.mark.parametrize(
    ("as_of", "said"),
    [
        ("gone", "dataset 'power' has no tag 'gone'"),
        ("99", "has no version 99; the newest is"),
        ("power=1,2", "write one version, time or tag for all datasets, or NAME=WHEN once for each"),
        ("rooms=0", "does not read 'rooms'; it reads power"),
    ],
)
def test_flight_says_what_is_wrong_with_it(http: HttpService, as_of: str, said: str) -> None:
    with pytest.raises(adbc_driver_manager.Error, match=said):
        ask(http.flight, "SELECT * FROM power", **{AS_OF: as_of})


def test_a_relative_time_is_one_instant_from_the_description_to_the_rows(ground: Ground, http: HttpService) -> None:
    raw = RawFlight(http.flight)
    asked = descriptor(packed("CommandStatementQuery", query="SELECT count(*) FROM power"))
    try:
        (info,) = raw.call("GetFlightInfo", asked, {"timestore-as-of": "-0s"})
        assert b"-0s" not in info and datetime.now(UTC).strftime("%Y-").encode() in info
        with pytest.raises(grpc.RpcError, match="send the header timestore-as-of with GetFlightInfo as well"):
            raw.call("DoGet", raw.ticket("SELECT 1"), {"timestore-as-of": "landed"})
    finally:
        raw.close()


def test_records_do_not_land_in_the_past(http: HttpService) -> None:
    with adbc(http.flight, **{AS_OF: "landed"}) as cursor, pytest.raises(adbc_driver_manager.Error, match="leave the header"):
        cursor.adbc_ingest("weather", readings(3), mode="append")
    assert ask(http.flight, "SELECT count(*) AS n FROM weather").to_pylist() == [{"n": 0}]


def test_a_version_that_is_gone_is_told_as_a_query_tells_it_and_one_that_is_read_stays(tmp_path: Path) -> None:
    with Warehouse.open(Settings(home=tmp_path / "home", flight_address="127.0.0.1:0")) as warehouse:
        ground = lived(warehouse)

        def collected() -> None:
            collect(warehouse.catalog, warehouse.storage, intent_grace=timedelta(0), keep_versions=timedelta(0))

        many = "SELECT a.* FROM power a, range(20000)"
        with warehouse.sql(many, as_of=1) as answer:
            batches = answer.batches()
            rows = next(batches).num_rows
            collected()
            assert rows + sum(batch.num_rows for batch in batches) == 40_000
        collected()
        with pytest.raises(RefusedError) as of_query:
            ground.asked(1)
        for text in ("SELECT * FROM power", "DESCRIBE power", "SUMMARIZE power"):
            with pytest.raises(RefusedError) as of_sql:
                ground.rows(text, 1)
            assert str(of_sql.value) == str(of_query.value), "version 1 of dataset 'power' has been collected; …"
        assert ground.rows("SELECT count(*) AS n FROM power", "landed") == [{"n": 4}], "a tag keeps its version"
        with serving(warehouse) as http:
            gone = http.client.post("/sql", json={"sql": "SELECT * FROM power", "asOf": 1})
            assert (gone.status_code, gone.json()["code"], gone.json()["detail"]) == (410, "gone", str(of_query.value))
            with pytest.raises(adbc_driver_manager.Error, match="has been collected"):
                ask(http.flight, "SELECT * FROM power", **{AS_OF: "1"})
