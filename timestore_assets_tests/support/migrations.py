"""Manifests in a line, and columns for them to be applied to, for tests of migrations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.effective_declaration import definition_of
from timestore_assets.catalog.schema_migrations import ColumnState, CutOver, MigrationOrder
from timestore_assets.migrating.applying import Applied, apply
from timestore_assets.migrating.declaration_changes import redeclared
from timestore_assets.migrating.manifest_file import manifest_of
from timestore_assets.migrating.migration_manifest import MigrationManifest
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Schema
from timestore_assets.querying.planning import syntax

GOVERNANCE = {"ticketId": "OPS-1", "approvedBy": "ann"}


def manifest(dataset: str, *operations: dict[str, Any], **more: Any) -> MigrationManifest:
    """A manifest with these operations, such as `{"drop": {"column": "note", "archive": False}}`; it is to be carried out."""
    return manifest_of(
        {"dataset": dataset, "governance": GOVERNANCE, "operations": list(operations), "execution": {"dryRun": False}, **more}
    )


def state_of(dataset: Dataset, *found: Any) -> ColumnState:
    """The columns of a declared dataset as the catalog has them, and columns that were `found` in its data beside them."""
    columns = tuple(replace(column, id=i) for i, column in enumerate((*dataset.schema, *found), start=1))
    return ColumnState(schema=Schema(columns=columns, version=3), definition=definition_of(dataset), last_column_id=len(columns))


def applied(before: ColumnState, *operations: dict[str, Any], **more: Any) -> Applied:
    return apply(syntax.parser(), before, manifest("meter", *operations, **more))


def rename(source: str, to: str, **more: Any) -> dict[str, Any]:
    return {"rename": {"from": source, "to": to, **more}}


def transform(column: str, expression: str, **more: Any) -> dict[str, Any]:
    return {"transform": {"column": column, "expression": expression, "incoming": "new", **more}}


def cast(column: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"cast": {"column": column, "type": kind, **more}}


def drop(column: str, **more: Any) -> dict[str, Any]:
    return {"drop": {"column": column, "archive": False, **more}}


def add(column: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"add": {"column": column, "type": kind, **more}}


def migrate(catalog: Catalog, dataset: str, *operations: dict[str, Any]) -> CutOver:
    """Carry a migration out without having tried it, as another process."""
    found = catalog.datasets.find(dataset)
    assert found is not None
    asked, con = manifest(dataset, *operations), syntax.parser()
    order = MigrationOrder(
        manifest=asked.plain,
        digest=asked.digest,
        ticket=asked.governance.ticket,
        approved_by=asked.governance.approved_by,
        base=catalog.migrations.state(found.id).schema,
        actor="ann",
    )
    return catalog.migrations.cut_over(found.id, order, lambda state: apply(con, state, asked).migrated, redeclared)
