"""The declaration that counts: columns and keys of the catalog, sources and policies of the file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from timestore_assets.catalog.effective_declaration import (
    column_part,
    combined,
    definition_of,
    differ_in_columns_only,
    effective,
    is_behind,
)
from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.dataset import Dataset, Dedupe, FileSource, Late, SegmentPolicy
from timestore_assets.model.schema import Checks, Column
from timestore_assets.model.types import DOUBLE, STRING, parse_type
from timestore_assets_tests.support.catalog_dataset import WEATHER

GUST = Column(name="gust", type=parse_type("decimal(9,2)"), nullable=True, unit="m/s", checks=Checks(ge="0", le="99.5"))
KIND = Column(name="kind", type=STRING, nullable=True, checks=Checks(isin=("a", "b")))


def more(*columns: Column, **changes: Any) -> Dataset:
    return replace(WEATHER, schema=WEATHER.schema.with_columns(*columns), **changes)


def record_of(dataset: Dataset) -> DatasetRecord:
    return DatasetRecord(id=1, name=dataset.name, manifest_version=1, schema=dataset.schema, definition=definition_of(dataset))


def test_a_declaration_that_the_catalog_has_is_served_as_it_is() -> None:
    assert effective(WEATHER, record_of(WEATHER)) is WEATHER


def test_columns_and_keys_come_from_the_catalog_and_the_rest_from_the_file() -> None:
    keys, order = Dedupe(keys=("time", "origin"), by="temp"), SegmentPolicy(sort_by=("origin", "time"))
    newer = more(GUST, KIND, dedupe=keys, segments=order)
    older = replace(WEATHER, late=Late(policy="hold"), sources=(FileSource(prefix="elsewhere"),), pandera_model="a.Model")
    served = effective(older, record_of(newer))
    assert served.is_behind
    assert (served.schema, served.time, served.dedupe, served.sort_columns) == (
        newer.schema,
        newer.time,
        newer.dedupe,
        newer.sort_columns,
    )
    assert (served.late, served.sources, served.pandera_model) == (older.late, older.sources, older.pandera_model)
    assert effective(served, record_of(newer)) is served
    assert definition_of(served) == combined(definition_of(older), definition_of(newer))


def test_what_only_the_file_says_does_not_make_it_behind() -> None:
    other = replace(WEATHER, description="new", late=Late(policy="drop"))
    assert effective(other, record_of(WEATHER)) is other
    assert column_part(definition_of(other)) == column_part(definition_of(WEATHER))


@pytest.mark.parametrize(
    ("own", "newest", "earlier", "behind"),
    [
        (WEATHER, more(GUST), [WEATHER], True),
        (WEATHER, more(GUST, KIND), [WEATHER, more(GUST)], True),
        (more(KIND), more(GUST), [WEATHER], False),
        (WEATHER, WEATHER, [WEATHER], False),
        (WEATHER, more(GUST), [], False),
    ],
)
def test_only_what_was_declared_before_is_behind(own: Dataset, newest: Dataset, earlier: list[Dataset], behind: bool) -> None:
    parts = [column_part(definition_of(one)) for one in earlier]
    assert is_behind(column_part(definition_of(own)), column_part(definition_of(newest)), parts) is behind


def test_parts_are_equal_whatever_defaults_another_version_of_the_package_writes() -> None:
    definition = definition_of(more(KIND))
    columns = [{**column, "description": ""} for column in definition["schema"]["columns"]]
    fewer = [{key: value for key, value in column.items() if value not in ("", False, None)} for column in columns]
    assert column_part({**definition, "schema": {"columns": fewer}}) == column_part(definition)


def test_values_that_differ_in_columns_only_are_told_from_others() -> None:
    newer = effective(WEATHER, record_of(more(GUST)))
    assert differ_in_columns_only(WEATHER, newer)
    assert not differ_in_columns_only(WEATHER, replace(newer, late=Late(policy="hold")))
    assert not differ_in_columns_only(replace(WEATHER, sources=()), newer)


def test_a_type_that_widened_is_the_catalogs_too() -> None:
    narrow = more(Column(name="count", type=parse_type("int32"), nullable=True))
    wide = more(Column(name="count", type=DOUBLE, nullable=True))
    assert effective(narrow, record_of(wide)).schema.column("count").type == DOUBLE
