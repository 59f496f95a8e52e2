"""A dataset's schema as the table Dagster shows under an asset."""

from __future__ import annotations

import dagster as dg

from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Checks, Column, Schema


def table_schema(schema: Schema, dataset: Dataset | None = None) -> dg.TableSchema:
    """Columns with type, description, unit and constraints; `dataset` marks its time, semantic and dedupe keys."""
    return dg.TableSchema(columns=[_column(column, dataset) for column in schema])


def _column(column: Column, dataset: Dataset | None) -> dg.TableColumn:
    tags = _roles(column, dataset)
    if column.unit:
        tags["unit"] = column.unit
    if column.origin == "inferred":
        tags["undeclared"] = ""
    return dg.TableColumn(
        name=column.name,
        type=str(column.type),
        description=_description(column),
        constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=False, other=_constraints(column.checks)),
        tags=tags,
    )


def _description(column: Column) -> str | None:
    text = column.description or ("Found in the data; not declared" if column.origin == "inferred" else "")
    if column.unit:
        text = f"{text} [{column.unit}]" if text else f"[{column.unit}]"
    return text or None


def _roles(column: Column, dataset: Dataset | None) -> dict[str, str]:
    if dataset is None:
        return {}
    roles = {
        "time": column.name == dataset.time,
        "partition_by": column.name in dataset.partition_by,
        "dedupe_key": dataset.dedupe is not None and column.name in dataset.dedupe.keys,
    }
    return {role: "" for role, held in roles.items() if held}


def _constraints(checks: Checks) -> list[str]:
    found = []
    if checks.isin is not None:
        found.append("one of " + ", ".join(str(value) for value in checks.isin))
    for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if (bound := getattr(checks, name)) is not None:
            found.append(f"{sign} {bound}")
    if checks.matches is not None:
        found.append(f"matches {checks.matches}")
    if checks.min_length is not None:
        found.append(f"at least {checks.min_length} characters")
    if checks.max_length is not None:
        found.append(f"at most {checks.max_length} characters")
    return found
