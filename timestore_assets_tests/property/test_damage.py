"""Whatever happens to the bytes of an object: `verify` finds it, no build takes it in, and what fails for it says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from timestore_assets.model.errors import DamagedError, TimestoreError
from timestore_assets.model.segment import SegmentFormat
from timestore_assets_tests.support.damaged_objects import DAMAGES, Damage, DamageableWarehouse
from timestore_assets_tests.support.examples import examples

BUILT: list[SegmentFormat] = ["parquet", "duckdb"]


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DamageableWarehouse]:
    warehouse = DamageableWarehouse.at(tmp_path_factory.mktemp("landed"))
    yield warehouse
    warehouse.ground.catalog.close()


@pytest.fixture(scope="module", params=BUILT)
def built(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[DamageableWarehouse]:
    warehouse = DamageableWarehouse.at(tmp_path_factory.mktemp("built"), format=request.param)
    for number in range(2):
        warehouse.build(number)
    yield warehouse
    warehouse.ground.catalog.close()


def found(warehouse: DamageableWarehouse) -> set[tuple[str, str]]:
    return {(one.object, one.problem) for one in warehouse.verify().findings}


@settings(max_examples=examples(5), deadline=None)
@given(damage=DAMAGES)
def test_verify_finds_damage_of_a_delta_and_a_build_refuses_it(landed: DamageableWarehouse, damage: Damage) -> None:
    name = landed.segment(0)
    with landed.spoilt(name, damage):
        assert (name, "digest") in found(landed)
        with pytest.raises(
            DamagedError, match=rf"segment {name} is damaged.*partition 2013-01-01 of dataset 'weather'"
        ) as raised:
            landed.build(0)
        assert raised.value.object == name
    assert landed.segment(0) == name
    assert landed.verify().ok


@settings(max_examples=examples(5), deadline=None)
@given(damage=DAMAGES)
def test_verify_finds_damage_of_what_was_built(built: DamageableWarehouse, damage: Damage) -> None:
    name = built.segment(1)
    with built.spoilt(name, damage):
        assert (name, "digest") in found(built)
    assert built.verify().ok


@settings(max_examples=examples(5), deadline=None)
@given(damage=DAMAGES)
def test_verify_finds_damage_of_dead_letters_and_nobody_reads_them(landed: DamageableWarehouse, damage: Damage) -> None:
    name = landed.letters()
    with landed.spoilt(name, damage):
        assert found(landed) == {(name, "digest")}
        with pytest.raises(DamagedError, match=f"object {name} is damaged"):
            landed.ground.letters()
    assert landed.verify().ok
    assert len(landed.ground.letters()) == 2


@settings(max_examples=examples(30), deadline=None)
@example(which=0, damage=("bit", 0.0195, 0)).via("a block size: DuckDB puts it down to the input")
@example(which=0, damage=("bit", 0.825, 0)).via("the name of a column: DuckDB does not find it")
@given(which=st.integers(0, 1), damage=DAMAGES)
def test_a_query_that_fails_for_damage_says_which_segment(
    landed: DamageableWarehouse, built: DamageableWarehouse, which: int, damage: Damage
) -> None:
    warehouse = (landed, built)[which]
    name = warehouse.segment(0)
    with warehouse.spoilt(name, damage):
        try:
            warehouse.rows()
        except TimestoreError as error:
            assert isinstance(error, DamagedError), error
            assert error.object == name
    assert len(warehouse.rows()) == 800
