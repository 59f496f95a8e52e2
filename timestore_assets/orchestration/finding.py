"""A check's outcome, before it becomes one of Dagster's two kinds of event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

SHOWN = 20
"""Rows of a table in a check's metadata."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """`check`: its name. `summary`: one sentence."""

    check: str
    passed: bool
    summary: str
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN
    metadata: Mapping[str, Any] = field(default_factory=dict)


def table(rows: list[Any]) -> dg.TableMetadataValue:
    """Rows as Dagster shows them; it can't derive columns from none."""
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows], schema=None if rows else dg.TableSchema(columns=[]))
