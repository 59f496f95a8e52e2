"""What the catalog keeps for the HTTP service alone: frozen values, no SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

IngestionState = Literal["pending", "landed", "abandoned"]
"""pending: accepted, not yet durable · landed: durable, `outcome` says what became of it · abandoned: the process that had it
ended before it was durable, so that nothing of it landed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ingestion:
    """A request that brought records. `dataset`: name. `outcome`: what was answered, empty while it is pending."""

    id: str
    dataset_id: int
    dataset: str
    key: str | None
    digest: str
    state: IngestionState
    outcome: Mapping[str, Any]
    manifest_version: int | None
    actor: str
    created_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """An API token, without its secret. `scopes`: what it may do. Times are aware; None: never."""

    id: int
    name: str
    scopes: tuple[str, ...]
    created_by: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedQuery:
    """A SELECT with a name. `parameters`: plain JSON values by parameter name, as the service defines them. `datasets`: what it
    reads. `version`: rises with every change.
    """

    name: str
    sql: str
    parameters: Mapping[str, Any]
    datasets: tuple[str, ...]
    description: str
    actor: str
    version: int = 0
    updated_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredDeclaration:
    """A declaration that came over HTTP. `attributes`: as in a `defs.yaml`. `version`: rises with every change."""

    name: str
    attributes: Mapping[str, Any]
    actor: str
    version: int
    created_at: datetime
    updated_at: datetime


PolicyKind = Literal["retention", "storage_target"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What an operator set for a dataset in place of its declaration.

    `value`: plain JSON, None once it was taken back. `version`: rises with every change.
    """

    kind: PolicyKind
    value: Mapping[str, Any] | None
    actor: str
    version: int
    updated_at: datetime
