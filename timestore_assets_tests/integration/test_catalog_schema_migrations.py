"""The cut-over of a migration: one transaction on either database, once, whatever happens beside it; and taking it back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from timestore_assets.catalog import datasets, schema_versions
from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.commit_values import SchemaChange
from timestore_assets.catalog.schema_migrations import CutOver, MigrationOrder
from timestore_assets.catalog.schema_restoring import restored
from timestore_assets.catalog.tables import backfills, dataset_schemas
from timestore_assets.migrating.applying import apply
from timestore_assets.migrating.declaration_changes import redeclared
from timestore_assets.model.errors import ConflictError, RefusedError
from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.types import DOUBLE, INT64
from timestore_assets.querying.planning import syntax
from timestore_assets_tests.support.catalog_dataset import HOUR, WEATHER, CatalogDataset
from timestore_assets_tests.support.migrations import cast, drop, manifest, rename, transform

CELSIUS = transform("temp", "(temp - 32) * 5 / 9", inverse="temp * 9 / 5 + 32")
PLACE = rename("origin", "place")


def cut_over(ground: CatalogDataset, *operations: dict[str, Any], base: Schema | None = None) -> CutOver:
    """Carry out operations that were tried on a schema, the newest one by default."""
    wanted = manifest("weather", *operations)
    order = MigrationOrder(
        manifest=wanted.plain,
        digest=wanted.digest,
        ticket="OPS-1",
        approved_by="ann",
        base=base or ground.catalog.migrations.state(ground.id).schema,
        cost={"partitions": 1},
        actor="test",
    )
    return ground.catalog.migrations.cut_over(
        ground.id, order, lambda state: apply(syntax.parser(), state, wanted).migrated, redeclared
    )


def schema(ground: CatalogDataset) -> Schema:
    return ground.catalog.migrations.state(ground.id).schema


def evolve(ground: CatalogDataset, column: Column) -> None:
    """Land a segment with a column that nobody declared."""
    evolved = replace(schema(ground).with_columns(column), version=schema(ground).version + 1)
    change = SchemaChange(kind="column_added", column=column.name, before=None, after=str(column.type))
    ground.land(column.name, ground.segment(schema_version=evolved.version), schema=evolved, schema_changes=(change,))


def found(name: str, kind: Any = INT64) -> Column:
    return Column(name=name, type=kind, nullable=True, origin="inferred")


def restore(ground: CatalogDataset, version: int, **options: Any) -> Schema:
    def work(connection: Any, now: int) -> int:
        row = datasets.lock(connection, ground.id)
        return restored(connection, row, version, **options, actor="test", now=now)

    ground.catalog.database.timed(work)
    return schema(ground)


@pytest.fixture
def landed(catalog_dataset: CatalogDataset) -> CatalogDataset:
    """A dataset with a segment in one day."""
    catalog_dataset.land()
    return catalog_dataset


def test_a_cut_over_puts_columns_in_force_and_touches_no_partition(landed: CatalogDataset) -> None:
    segments, partition = landed.live(), landed.catalog.partitions.of(landed.id)
    landed.catalog.outbox.delivered(one.id for one in landed.catalog.outbox.claim(holder="x", limit=99, ttl=HOUR))
    made = cut_over(landed, PLACE, CELSIUS)
    record = landed.catalog.datasets.find("weather")
    assert record is not None and made.is_new
    assert record.schema.names == ("time", "place", "temp") and record.schema.version == 2
    assert (record.manifest_version, made.record.manifest_version) == (2, 2)
    assert [one["name"] for one in record.definition["schema"]["columns"]] == ["time", "place", "temp"]
    assert landed.live() == segments and landed.live(version=2) == segments
    assert landed.catalog.partitions.of(landed.id) == partition
    (audited,) = [one for one in landed.catalog.audit.newest() if one["action"] == "schema_migrated"]
    assert (audited["details"]["ticket"], audited["details"]["approved_by"], audited["manifest_version"]) == ("OPS-1", "ann", 2)
    event, request = landed.catalog.outbox.claim(holder="y", limit=99, ttl=HOUR)
    assert request.kind == "backfill_asked"
    assert (event.kind, event.payload["ticket"], event.payload["version"]) == ("schema_changed", "OPS-1", 2)
    assert [one["kind"] for one in event.payload["changes"]] == ["column_renamed", "column_transformed"]
    assert event.payload["reason"] == "migrated to schema version 2 (OPS-1, approved by ann)"
    asked = landed.catalog.database.read(lambda c: c.execute(select(backfills)).one())
    assert (asked.schema_version, asked.state) == (2, "asked")


def test_which_columns_are_in_force_goes_by_the_manifest_version(landed: CatalogDataset) -> None:
    cut_over(landed, PLACE)
    at = landed.catalog.database.read(lambda c: [schema_versions.version_at(c, landed.id, version) for version in (1, 2)])
    assert at == [1, 2]


def test_only_what_is_computed_asks_for_a_rewrite(landed: CatalogDataset) -> None:
    cut_over(landed, PLACE, drop("temp"))
    assert landed.catalog.database.read(lambda c: c.execute(select(backfills)).all()) == []


def test_the_same_again_is_done_once(landed: CatalogDataset) -> None:
    first = cut_over(landed, PLACE)
    again = cut_over(landed, PLACE)
    assert (again.is_new, again.record) == (False, first.record)
    assert [one.digest for one in landed.catalog.migrations.of(landed.id)] == [first.record.digest]
    assert landed.catalog.manifest.version(landed.id) == 2


def test_columns_that_were_found_since_do_not_matter(landed: CatalogDataset) -> None:
    base = schema(landed)
    evolve(landed, found("gust"))
    made = cut_over(landed, PLACE, CELSIUS, base=base)
    assert made.record.schema_version == 3 and schema(landed).names == ("time", "place", "temp", "gust")
    assert schema(landed).column("gust").id == 4 and schema(landed).column("temp").id == 5


def test_a_column_that_changed_since_is_a_conflict(landed: CatalogDataset) -> None:
    evolve(landed, found("gust"))
    base = schema(landed)
    evolve(landed, found("gust", DOUBLE))
    with pytest.raises(ConflictError, match=r"'gust' .* has changed since"):
        cut_over(landed, rename("gust", "squall"), base=base)
    with pytest.raises(ConflictError, match=r"'gust' .* has changed since"):
        cut_over(landed, transform("temp", "temp + gust"), base=base)
    assert cut_over(landed, PLACE, base=base).is_new


def test_another_migration_since_is_a_conflict(landed: CatalogDataset) -> None:
    base = schema(landed)
    cut_over(landed, PLACE)
    with pytest.raises(ConflictError, match="another migration made schema version 2"):
        cut_over(landed, CELSIUS, base=base)
    assert schema(landed).version == 2


def test_of_two_at_once_one_is_carried_out(landed: CatalogDataset) -> None:
    base = schema(landed)
    with ThreadPoolExecutor(8) as pool:
        same = list(pool.map(lambda _: cut_over(landed, PLACE, base=base), range(8)))
    assert sum(one.is_new for one in same) == 1 and len({one.record.schema_version for one in same}) == 1
    base = schema(landed)

    def tried(number: int) -> str:
        try:
            cut_over(landed, rename("place", f"place_{number}"), base=base)
        except ConflictError:
            return "conflict"
        return "done"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(tried, range(8))) == ["conflict"] * 7 + ["done"]
    assert schema(landed).version == 3


def test_landing_that_began_before_has_to_judge_again(landed: CatalogDataset) -> None:
    partition = landed.source_partition("b")
    batch = landed.batch(partition, landed.segment(), base_schema_version=1)
    cut_over(landed, PLACE)
    with pytest.raises(ConflictError, match="decode again"):
        landed.catalog.commits.land(batch)


def test_a_build_that_began_before_still_counts(landed: CatalogDataset) -> None:
    before = landed.live()
    cut_over(landed, PLACE)
    assert landed.build(0, before, landed.sealed()) == 3


def test_files_of_before_are_behind_and_files_of_after_change_nothing(landed: CatalogDataset) -> None:
    cut_over(landed, PLACE, CELSIUS)
    record = landed.catalog.datasets.register(WEATHER, actor="old file")
    assert record.schema.names == ("time", "place", "temp") and record.schema.version == 2
    columns = {column.name: column for column in WEATHER.schema}
    new = (columns["time"], replace(columns["origin"], name="place"), columns["temp"])
    record = landed.catalog.datasets.register(replace(WEATHER, schema=Schema(columns=new)), actor="new file")
    assert (record.schema.version, [one.id for one in record.schema]) == (2, [1, 2, 4])
    assert record.schema.column("place").aliases and record.schema.column("temp").expression and record.schema.retired


def test_without_rows_the_declaration_is_changed_instead(catalog_dataset: CatalogDataset) -> None:
    with pytest.raises(RefusedError, match="change its declaration"):
        cut_over(catalog_dataset, PLACE)


def test_ids_are_never_given_twice(landed: CatalogDataset) -> None:
    cut_over(landed, drop("temp"))
    evolve(landed, found("gust"))
    cut_over(landed, cast("gust", "string"), transform("origin", "upper(origin)"))
    assert [one.id for one in schema(landed)] == [1, 5, 4] and {one.id for one in schema(landed).retired} == {2, 3}


def test_columns_of_before_come_back_with_their_ids(landed: CatalogDataset) -> None:
    first = schema(landed)
    cut_over(landed, PLACE, drop("temp"))
    back = restore(landed, 1)
    assert back.names == first.names and [one.id for one in back] == [1, 2, 3] and back.version == 3
    assert [one.name for one in back.column("origin").aliases] == ["place"], "producers of the new name go on"
    record = landed.catalog.datasets.register(WEATHER, actor="old file")
    assert record.schema.version == 3
    newest, migration = landed.catalog.migrations.of(landed.id)
    assert (newest.kind, newest.manifest, migration.kind) == ("rollback", {"restores": 1}, "forward")
    forward = restore(landed, 2)
    assert forward.names == ("time", "place") and [one.id for one in forward.retired] == [3]


def test_what_was_taken_back_can_be_carried_out_anew(landed: CatalogDataset) -> None:
    cut_over(landed, PLACE)
    restore(landed, 1)
    assert cut_over(landed, PLACE).record.schema_version == 4
    restore(landed, 3)
    restore(landed, 4)
    assert not cut_over(landed, PLACE).is_new, "it is in force again"


def test_rows_landed_since_are_computed_back_or_it_is_refused(landed: CatalogDataset) -> None:
    cut_over(landed, CELSIUS)
    landed.land("b", landed.segment(schema_version=2))
    back = restore(landed, 1)
    assert back.column("temp").id == 3 and back.column("temp").expression == '((("#4" * 9) / 5) + 32)'
    (gone,) = back.retired
    assert (gone.id, gone.expression) == (4, None), "neither is computed from the other in rows that have none of them"


def test_without_an_inverse_rows_landed_since_are_in_the_way(landed: CatalogDataset) -> None:
    cut_over(landed, transform("temp", "temp * 2"))
    assert restore(landed, 1).column("temp").id == 3, "no row has landed since"
    restore(landed, 2)
    landed.land("b", landed.segment(schema_version=2))
    with pytest.raises(RefusedError, match="no 'temp', and the migration named no `inverse:`"):
        restore(landed, 1)
    assert restore(landed, 1, may_null=True).column("temp").expression is None


def test_a_column_that_has_to_be_there_is_never_null(landed: CatalogDataset) -> None:
    cut_over(landed, transform("origin", "upper(origin)"))
    landed.land("b", landed.segment(schema_version=2))
    with pytest.raises(RefusedError, match="not nullable"):
        restore(landed, 1, may_null=True)
    assert schema(landed).version == 2


def test_a_schema_of_a_process_without_ids_is_given_some(landed: CatalogDataset, catalog: Catalog) -> None:
    catalog.database.write(lambda c: c.execute(dataset_schemas.update().values(identities=None)))
    assert [one.id for one in schema(landed)] == [4, 5, 6]
    assert cut_over(landed, PLACE).is_new and [one.id for one in schema(landed)] == [4, 5, 6]
