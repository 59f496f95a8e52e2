"""What operations make of columns: ids, names, keys, former names and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from timestore_assets.catalog.effective_declaration import redeclare
from timestore_assets.migrating.applying import Applied
from timestore_assets.model.errors import DeclarationError
from timestore_assets.model.schema import Column, FormerName, schema_from_plain
from timestore_assets.model.types import parse_type
from timestore_assets_tests.support.migrations import add, applied, cast, drop, rename, state_of, transform
from timestore_assets_tests.support.query_warehouse import METER, column

FOUND = column("found", "int64", origin="inferred")
BEFORE = state_of(METER, FOUND)


def ids(found: Applied) -> dict[str, int]:
    return {one.name: one.id for one in found.schema}


def definition(found: Applied) -> Any:
    return found.migrated.state.definition


def refused(*operations: dict[str, Any], **more: Any) -> str:
    with pytest.raises(DeclarationError) as error:
        applied(BEFORE, *operations, **more)
    return str(error.value)


def test_a_rename_keeps_the_column_and_remembers_its_name() -> None:
    found = applied(BEFORE, rename("value", "reading", aliases_until=datetime(2030, 1, 1, tzinfo=UTC)))
    assert ids(found) == {"reading" if name == "value" else name: one for name, one in ids_of_before().items()}
    assert found.schema.column("reading").aliases == (FormerName(name="value", until=datetime(2030, 1, 1, tzinfo=UTC)),)
    assert (found.schema.version, found.schema.retired, found.migrated.computed, found.computed) == (4, (), (), ())
    assert [one["name"] for one in definition(found)["schema"]["columns"]][2] == "reading"


def ids_of_before() -> dict[str, int]:
    return {one.name: one.id for one in BEFORE.schema}


def test_keys_and_order_follow_a_rename() -> None:
    found = applied(BEFORE, rename("device", "meter_id"), rename("ts", "at"), rename("rev", "revision"))
    said = definition(found)
    assert (said["time"], said["partition_by"]) == ("at", ["meter_id"])
    assert said["dedupe"] == {"keys": ["meter_id", "at"], "keep": "last", "by": "revision"}
    declared = schema_from_plain(said["schema"]["columns"], version=1)
    assert redeclare(found.schema, declared).changes == () and redeclare(found.schema, declared).problems == ()


def test_names_are_swapped_at_once() -> None:
    before = ids_of_before()
    found = applied(BEFORE, rename("n", "rev", incoming="new"), rename("rev", "n", incoming="new"))
    assert (ids(found)["n"], ids(found)["rev"]) == (before["rev"], before["n"])
    assert found.schema.column("n").aliases == found.schema.column("rev").aliases == ()
    assert definition(found)["dedupe"]["by"] == "n"


def test_names_move_along_a_chain() -> None:
    before = ids_of_before()
    found = applied(
        BEFORE, rename("value", "n", incoming="new"), rename("n", "amount", incoming="new"), rename("amount", "money")
    )
    assert (ids(found)["n"], ids(found)["amount"], ids(found)["money"]) == (before["value"], before["n"], before["amount"])
    assert found.schema.column("n").aliases == (FormerName(name="value"),), "its name is nobody's now"
    assert found.schema.column("money").aliases == (), "its name is another's now"


def test_names_are_swapped_by_way_of_a_third() -> None:
    before = ids_of_before()
    found = applied(BEFORE, rename("value", "spare"), rename("n", "value", incoming="new"), rename("spare", "n", incoming="new"))
    assert (ids(found)["value"], ids(found)["n"]) == (before["n"], before["value"])
    assert "spare" not in str(found.schema)


def test_records_go_by_the_names_of_before_until_it_is_said_that_they_don_t() -> None:
    double = transform("value", "value * 2", incoming="old")
    found = applied(BEFORE, double)
    assert found.schema.incoming == BEFORE.schema.version == 3
    later = applied(found.migrated.state, rename("note", "remark"))
    assert later.schema.incoming == 3, "another migration does not end it"
    assert applied(later.migrated.state, transform("n", "n + 1", incoming="old")).schema.incoming == 3
    assert applied(later.migrated.state, transform("n", "n + 1")).schema.incoming is None
    ended = applied(later.migrated.state, incoming="new")
    assert ended.schema.incoming is None and ended.migrated.changes == () and ended.schema.names == later.schema.names
    assert "is empty" in refused(incoming="new") and "is empty" in refused()


def test_a_rewrite_stops_at_a_lost_value_unless_it_may_be_null() -> None:
    assert applied(BEFORE, cast("note", "int64")).schema.column("note").expression == 'CAST("#8" AS BIGINT)'
    assert applied(BEFORE, cast("note", "int64", on_error="null")).schema.column("note").expression == 'TRY(CAST("#8" AS BIGINT))'


def test_a_name_that_comes_back_is_no_former_one() -> None:
    once = applied(BEFORE, rename("value", "reading"))
    again = applied(once.migrated.state, rename("reading", "value"))
    assert again.schema.column("value").aliases == (FormerName(name="reading"),)
    assert ids(again) == ids_of_before()


def test_a_transform_makes_a_column_and_retires_the_other() -> None:
    found = applied(BEFORE, transform("value", "(value - 32) * 5 / 9 + n", unit="K"))
    made, (old,) = found.schema.column("value"), found.schema.retired
    assert (made.id, made.unit, made.nullable) == (11, "K", True)
    assert made.expression == '(((("#3" - 32) * 5) / 9) + "#4")'
    assert (old.id, old.name, old.expression) == (3, "value", None)
    assert found.migrated.state.last_column_id == 11 and found.migrated.computed == ("value",)
    assert found.migrated.touched == {"value", "n"}
    assert [one.kind for one in found.migrated.changes] == ["column_transformed"]
    assert found.schema.names == BEFORE.schema.names


def test_a_column_computed_from_a_computed_one_speaks_of_its_id() -> None:
    first = applied(BEFORE, transform("value", "value * 2"), transform("value", "value + 1"))
    made = first.schema.column("value")
    assert (made.id, made.expression) == (12, '("#11" + 1)')
    assert {one.id: one.expression for one in first.schema.retired} == {3: None, 11: '("#3" * 2)'}
    later = applied(first.migrated.state, rename("value", "reading"), add("twice", "double", expression="reading * 2"))
    assert later.schema.column("twice").expression == '("#12" * 2)'


def test_literals_that_look_like_columns_stay_what_they_are() -> None:
    found = applied(BEFORE, rename("note", "remark"), transform("remark", """'"note" ' || remark"""))
    assert found.schema.column("remark").expression == """('"note" ' || "#8")"""


def test_a_rename_with_an_expression_is_another_column() -> None:
    found = applied(BEFORE, rename("value", "celsius", expression="(value - 32) * 5 / 9", inverse="celsius * 9 / 5 + 32"))
    made = found.schema.column("celsius")
    assert (made.id, made.aliases) == (11, ()) and [one.name for one in found.schema.retired] == ["value"]
    assert found.migrated.inverse == {3: '((("#11" * 9) / 5) + 32)'}


def test_a_cast_that_loses_nothing_keeps_the_column() -> None:
    found = applied(state_of(METER, column("small", "int32")), cast("small", "int64"))
    assert found.schema.column("small").id == 10 and found.computed == ()
    assert [one.kind for one in found.migrated.changes] == ["type_widened"]


def test_a_cast_that_may_lose_something_makes_another() -> None:
    found = applied(BEFORE, cast("value", "int64"))
    assert (ids(found)["value"], found.schema.column("value").expression) == (11, 'CAST("#3" AS BIGINT)')


def test_a_found_column_stays_found_when_renamed_and_is_declared_when_cast() -> None:
    renamed = applied(BEFORE, rename("found", "seen"))
    assert renamed.schema.column("seen").origin == "inferred" and len(definition(renamed)["schema"]["columns"]) == 9
    wider = applied(BEFORE, cast("found", "double"))
    assert (wider.schema.column("found").origin, ids(wider)["found"]) == ("inferred", 10)
    assert definition(wider)["schema"]["columns"][-1]["type"] == "double"
    other = applied(BEFORE, cast("found", "int32"))
    assert (other.schema.column("found").origin, ids(other)["found"]) == ("declared", 11)
    assert definition(other)["schema"]["columns"][-1]["name"] == "found"


def test_a_default_fills_what_a_found_column_lacks() -> None:
    found = applied(BEFORE, add("found", "int64", default=0))
    made = found.schema.column("found")
    assert (made.id, made.expression) == (11, """coalesce("#10", CAST('0' AS BIGINT))""")
    assert [one.id for one in found.schema.retired] == [10] and made.nullable


def test_an_added_column_without_values_is_read_as_null() -> None:
    found = applied(BEFORE, add("extra", "string"))
    assert found.schema.column("extra").expression is None and found.migrated.computed == ()
    assert "need a `default`" in refused(add("extra", "string", nullable=False))
    assert applied(BEFORE, add("extra", "string", nullable=False, default="x")).migrated.computed == ("extra",)


def test_a_dropped_column_is_retired_and_its_name_can_be_used_again() -> None:
    found = applied(BEFORE, drop("note"), add("note", "int64", incoming="new"))
    assert [one.id for one in found.schema.retired] == [8] and ids(found)["note"] == 11
    assert [one["name"] for one in definition(found)["schema"]["columns"]].count("note") == 1
    assert "write `incoming: new`" in refused(drop("note"), add("note", "int64"))


@pytest.mark.parametrize(
    "operation",
    [
        transform("device", "upper(device)"),
        cast("ts", "date"),
        cast("rev", "double"),
        drop("rev"),
        rename("ts", "at", expression="ts + INTERVAL 1 HOUR"),
    ],
)
def test_keys_can_only_be_renamed(operation: dict[str, Any]) -> None:
    assert "keys can only be renamed" in refused(operation) and "land into a new dataset" in refused(operation)


@pytest.mark.parametrize(
    ("operations", "problem"),
    [
        ([transform("value", "value * 2", incoming=None)], "write `incoming: new`"),
        ([transform("value", "value * 2", incoming="old"), transform("n", "n + 1")], "the same for all columns"),
        ([rename("value", "n")], "which another column is called"),
        ([rename("value", "N")], "which another column is called"),
        ([rename("n", "rev"), rename("rev", "n")], "write `incoming: new`"),
        ([rename("value", "x"), rename("value", "y")], "no column 'value'"),
        ([rename("value", "x", expression="value * 2"), rename("x", "y")], "write one rename"),
        ([rename("value", "value")], "is called already"),
        ([rename("value", "__source")], "begins with __"),
        ([transform("value", "value + missing")], "no column 'missing'"),
        ([transform("value", "random()")], "can't hold random()"),
        ([transform("flag", "n::HUGEINT")], "write `to_type` too"),
        ([transform("value", "value * 2", nullable=False, on_error="null")], "which makes it nullable"),
        ([cast("value", "double")], "is already"),
        ([{"drop": {"column": "note"}}], "archive: false"),
        ([add("value", "double")], "there is already"),
        ([add("found", "int64")], "declare it"),
        ([add("x", "int64", default="many")], "'many' is no int64"),
        ([add("x", "int32", default=3_000_000_000)], "is no int32"),
        ([add("x", "list<int64>", default=1)], "use an expression"),
        ([rename("value", "c", expression="value * 2", inverse="n")], "no column 'n'"),
    ],
)
def test_what_can_not_be_meant_is_refused_with_its_place(operations: list[dict[str, Any]], problem: str) -> None:
    found = refused(*operations)
    assert problem in found and found.startswith("operations."), found


def test_checks_of_other_values_are_left_out_and_new_ones_taken() -> None:
    warm = Column(name="warm", type=parse_type("double"), nullable=True, checks=METER.schema.column("value").checks)
    found = applied(state_of(METER, warm), transform("warm", "warm * 2", ge=0))
    assert found.schema.column("warm").checks.ge == 0


def test_the_target_schema_is_compared() -> None:
    target = {name: str(one.type) for name, one in ((one.name, one) for one in BEFORE.schema)}
    assert applied(
        BEFORE, rename("found", "seen"), targetSchema={**{k: v for k, v in target.items() if k != "found"}, "seen": "int64"}
    )
    assert "targetSchema.found" in refused(rename("found", "seen"), targetSchema={**target, "seen": "int64"})
    assert "is double, and the operations make it int64" in refused(
        cast("found", "double"), cast("found", "int64"), targetSchema={**target, "found": "double"}
    )
    assert "does not name" in refused(cast("value", "int64"), targetSchema={"value": "int64"})
