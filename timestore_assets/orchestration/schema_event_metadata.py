"""An event of a schema as metadata in Dagster: what changed, what made it, what a person does now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from timestore_assets.catalog.schema_events import OF_DATA, cause_sentence, change_sentence, place_sentence


def described(payload: Mapping[str, Any]) -> str:
    """One sentence."""
    words = "; ".join(change_sentence(change) for change in payload["changes"]) or "declared anew"
    return f"schema version {payload['version']}: {words}"


def shown(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of an observation, without any value of the data: who sees it need not be allowed to read the dataset."""
    metadata: dict[str, Any] = {"version": payload["version"], "actor": payload["actor"]}
    cause = payload.get("cause")
    if cause is not None:
        metadata |= {"cause": cause_sentence(cause), "manifest_version": payload["manifest_version"]}
    rows = change_rows(payload["changes"], cause or {})
    if rows:
        metadata["changes"] = dg.MetadataValue.table([dg.TableRecord(row) for row in rows])
    found = [change for change in payload["changes"] if cause is not None and cause["kind"] in OF_DATA]
    if found:
        metadata["what_to_do"] = dg.MetadataValue.md(to_declare({str(one["column"]): str(one["after"]) for one in found}))
    return metadata


def change_rows(changes: list[Mapping[str, Any]], cause: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row for each change, with the record that made it."""
    return [
        {
            "change": str(change["kind"]),
            "column": str(change["column"]),
            "before": str(change["before"] or ""),
            "after": str(change["after"]),
            "record": place_sentence(cause, str(change["column"])),
        }
        for change in changes
    ]


def to_declare(types: Mapping[str, str]) -> str:
    """The lines that acknowledge columns, as Markdown."""
    write = "\n".join(f"  {column}: {{type: {kind}, nullable: true}}" for column, kind in types.items())
    return f"Write them below `columns:` in the declaration:\n```yaml\n{write}\n```"
