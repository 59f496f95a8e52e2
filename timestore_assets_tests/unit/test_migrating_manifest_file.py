"""Migration manifests as people write them: YAML or JSON, with mistakes explained where they are; digests tell them apart."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from timestore_assets.migrating.manifest_file import read_manifest
from timestore_assets.migrating.migration_manifest import Cast, Drop, Rename, Target, Transform
from timestore_assets.model.errors import DeclarationError
from timestore_assets.model.types import DOUBLE, INT64

TEXT = """\
dataset: weather
governance:
  ticketId: OPS-12
  approvedBy: ann
targetSchema:
  temperature: double
  wind: {type: double, nullable: true}
operations:
  - rename: {from: temp, to: temperature, aliases_until: 2030-01-01}
  - transform: {column: wind, expression: wind * 0.5, incoming: new, ge: 0}
  - cast: {column: code, type: int64, on_error: null}
  - drop: {column: note, archive: false}
  - add: {column: station, type: string, default: JFK}
execution: {dryRun: false}
"""


def changed(**changes: Any) -> str:
    return yaml.safe_dump({**yaml.safe_load(TEXT), **changes}, sort_keys=False)


def problem(text: str) -> str:
    with pytest.raises(DeclarationError) as error:
        read_manifest(text, file="m.yaml")
    return str(error.value)


def test_a_manifest_is_read() -> None:
    found = read_manifest(TEXT)
    rename, transform, cast, drop, add = found.operations
    assert rename == Rename(column="temp", to="temperature", until=datetime(2030, 1, 1, tzinfo=UTC))
    assert isinstance(transform, Transform) and (transform.incoming, transform.described.checks) == ("new", {"ge": 0})
    assert cast == Cast(column="code", type=INT64, nulls=True)
    assert drop == Drop(column="note", archive=False)
    assert found.target == {"temperature": Target(type=DOUBLE), "wind": Target(type=DOUBLE, nullable=True)}
    assert (found.governance.ticket, found.governance.approved_by, found.dry_run) == ("OPS-12", "ann", False)
    assert getattr(add, "default", None) == "JFK"


def test_nothing_is_carried_out_unless_it_is_said() -> None:
    assert read_manifest(changed(execution={})).dry_run


def test_json_is_read_as_well() -> None:
    plain = json.dumps(yaml.safe_load(TEXT), default=str)
    assert read_manifest(plain).operations == read_manifest(TEXT).operations


def test_the_digest_is_of_what_is_done() -> None:
    digest = read_manifest(TEXT).digest
    assert read_manifest(changed(execution={"dryRun": True})).digest == digest
    assert read_manifest("# a comment\n" + TEXT).digest == digest
    for other in (
        TEXT.replace("OPS-12", "OPS-13"),
        TEXT.replace("0.5", "0.51"),
        TEXT.replace("on_error: null", "on_error: stop"),
    ):
        assert read_manifest(other).digest != digest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            TEXT.replace("to: temperature", "too: temperature"),
            "m.yaml:9: operations.0.rename.too: is not a key here; did you mean 'to'?",
        ),
        (TEXT.replace("type: int64", "type: int65"), "m.yaml:11: operations.2.cast.type: unknown type 'int65'"),
        (TEXT.replace("  ticketId: OPS-12\n", ""), "m.yaml:2: governance.ticketId: is missing"),
        (TEXT.replace("  - drop:", "  - dropp:"), "m.yaml:12: operations.3.dropp: is not a key here; did you mean 'drop'?"),
        (TEXT.replace("incoming: new", "incoming: both"), "operations.1.transform.incoming: is 'both'; write 'new' or 'old'"),
        (TEXT.replace("dataset: weather", "dataset: Weather Data"), "m.yaml:1: dataset: is 'Weather Data'"),
        (TEXT.replace("wind: {type: double", "wind: {type: dubble"), "targetSchema.wind.type"),
        (TEXT.replace("default: JFK", "default: JFK, expression: code"), "operations.4.add.expression: stands beside `default`"),
        (TEXT.replace("aliases_until: 2030-01-01", "unit: K"), "operations.0.rename.unit: is for a column whose values change"),
        ("- a\n- b\n", "a migration manifest is one mapping"),
        ("a: [", "is not valid YAML"),
        (TEXT + "dataset: other\n", "is written twice"),
        ("", "a migration manifest is one mapping"),
    ],
)
def test_mistakes_are_explained_where_they_are(text: str, expected: str) -> None:
    assert expected in problem(text)


def test_an_operation_says_one_thing() -> None:
    assert "write one of rename" in problem(changed(operations=[{}]))
    two = {"drop": {"column": "a", "archive": False}, "cast": {"column": "b", "type": "int64"}}
    assert "write one of rename" in problem(changed(operations=[two]))
