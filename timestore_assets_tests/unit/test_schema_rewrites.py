"""When rows of one schema version have to be written anew for another: only where a shown column is computed for them."""

from __future__ import annotations

from dataclasses import replace

from timestore_assets.model.schema import Column, Schema
from timestore_assets.model.stored_columns import computed_since, needs_rewrite
from timestore_assets.model.types import DOUBLE, INT64, TIMESTAMP

TIME, FAHRENHEIT = Column(name="time", type=TIMESTAMP, id=1), Column(name="temp_f", type=DOUBLE, id=2)
CELSIUS = Column(name="temp_c", type=DOUBLE, id=3, expression='("#2" - 32) / 1.8')
FIRST = Schema(columns=(TIME, FAHRENHEIT))
COMPUTED = Schema(columns=(TIME, CELSIUS), version=2, retired=(FAHRENHEIT,))


def test_a_computed_column_that_the_rows_lack_asks_for_it() -> None:
    assert needs_rewrite(FIRST, COMPUTED)
    assert not needs_rewrite(COMPUTED, COMPUTED)


def test_added_renamed_widened_and_dropped_columns_are_read_as_they_are() -> None:
    added = replace(FIRST, columns=(*FIRST.columns, Column(name="wind", type=DOUBLE, nullable=True, id=4)))
    renamed = replace(FIRST, columns=(TIME, replace(FAHRENHEIT, name="fahrenheit", type=INT64)))
    assert not any(needs_rewrite(FIRST, later) for later in (added, renamed, replace(FIRST, columns=(TIME,))))


def test_rows_that_were_written_without_a_retired_column_lack_it() -> None:
    """After a rollback the computed column is retired: what is written then does not hold it, and going forward asks again."""
    rolled_back = Schema(columns=(TIME, FAHRENHEIT), version=3, retired=(CELSIUS,))
    assert needs_rewrite(rolled_back, replace(COMPUTED, version=4))


def test_of_a_version_that_later_ones_undid_nothing_is_left() -> None:
    kelvin = Column(name="temp_k", type=DOUBLE, id=4, expression='"#2" + 273')
    later = Schema(columns=(TIME, kelvin), version=3, retired=(FAHRENHEIT, CELSIUS))
    assert computed_since(COMPUTED, later).columns == ()
    assert not needs_rewrite(FIRST, computed_since(COMPUTED, later))
    assert needs_rewrite(FIRST, computed_since(later, later))
