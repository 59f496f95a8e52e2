"""What a person asks for in a migration, as frozen values. `manifest_file` reads it; `applying` says what comes of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from timestore_assets.declaration.attributes import ColumnAttributes
from timestore_assets.model.errors import DeclarationError
from timestore_assets.model.schema import to_plain
from timestore_assets.model.types import ColumnType

Incoming = Literal["new", "old"]
"""What producers send from now on under names whose meaning changes: values as they are after it, or still as before."""


ArchiveFormat = Literal["jsonl", "parquet"]
"""What files of archives are; their suffix says it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Described:
    """What a manifest says about a column that it makes; None: as the column had it that it is made of."""

    nullable: bool | None = None
    unit: str | None = None
    description: str | None = None
    allow_nan: bool | None = None
    checks: Mapping[str, Any] = field(default_factory=dict)
    """As a declaration writes them: `ge`, `isin`, …"""

    def attributes(self, kind: ColumnType, *, nullable: bool, unit: str, description: str, allow_nan: bool) -> ColumnAttributes:
        """As a declaration would say it; the arguments stand in for what is not said here."""
        said = {"nullable": self.nullable, "unit": self.unit, "description": self.description, "allow_nan": self.allow_nan}
        else_ = {"nullable": nullable, "unit": unit, "description": description, "allow_nan": allow_nan}
        values: dict[str, Any] = {key: else_[key] if one is None else one for key, one in said.items()}
        return ColumnAttributes(type=str(kind), **values, **self.checks)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rename:
    """`expression`: values change with the name, so that it is another column. `until`: how long the old name is accepted."""

    column: str
    to: str
    expression: str | None = None
    to_type: ColumnType | None = None
    until: datetime | None = None
    incoming: Incoming | None = None
    """Wanted where the new name was another column's until now."""
    nulls: bool = False
    inverse: str | None = None
    described: Described = Described()


@dataclass(frozen=True, kw_only=True, slots=True)
class Transform:
    """Other values under the same name. `nulls`: values that the expression fails on may become NULL."""

    column: str
    expression: str
    to_type: ColumnType | None = None
    incoming: Incoming | None = None
    nulls: bool = False
    inverse: str | None = None
    """An expression over the new column that gives the old values again, for a rollback that keeps rows landed since."""
    described: Described = Described()


@dataclass(frozen=True, kw_only=True, slots=True)
class Cast:
    """Another type under the same name."""

    column: str
    type: ColumnType
    nulls: bool = False
    inverse: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Drop:
    """`archive`: keep its values apart first; None: nothing was said. `purge`: rewrite partitions so that no file has them."""

    column: str
    archive: bool | None = None
    purge: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Add:
    """`default`, `expression`: values of rows that are there already; of a column that was found, those that it lacks."""

    column: str
    type: ColumnType
    default: bool | int | float | str | None = None
    expression: str | None = None
    incoming: Incoming | None = None
    """Wanted where another column had that name until now."""
    nulls: bool = False
    is_standing: bool = False
    """Records that land afterwards get the value, too, as a declaration says it."""
    described: Described = Described()


Operation = Rename | Transform | Cast | Drop | Add


@dataclass(frozen=True, kw_only=True, slots=True)
class Governance:
    ticket: str
    approved_by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A column as it is expected to be after the migration; None: whatever it is."""

    type: ColumnType
    nullable: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MigrationManifest:
    """A migration of one dataset, its operations in order.

    `plain`: what was written, as JSON values. `lines`: where, by dotted key.
    """

    dataset: str
    governance: Governance
    operations: tuple[Operation, ...]
    target: Mapping[str, Target] | None = None
    """All columns that there are expected to be; None when nothing is said."""
    dry_run: bool = True
    archive_directory: str | None = None
    archive_target: str | None = None
    """A storage target by its name; beside it there is no folder."""
    archive_format: ArchiveFormat = "jsonl"
    incoming: Incoming | None = None
    """`new`: records go by the present names from now on, after a migration that said they don't yet."""
    rewrites_all: bool = False
    """Ask to rewrite what could be read as it is, too."""
    allows_broken_queries: bool = False
    plain: Mapping[str, Any] = field(default_factory=dict, compare=False)
    file: str = field(default="", compare=False)
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)

    @property
    def digest(self) -> str:
        """SHA-256 of what it does, however it is written and whatever it says about how to carry it out."""
        said = {
            "dataset": self.dataset,
            "governance": to_plain(self.governance),
            "operations": [{type(one).__name__.lower(): to_plain(one)} for one in self.operations],
            "target": to_plain(self.target),
            "incoming": self.incoming,
            "rewrites_all": self.rewrites_all,
        }
        canonical = json.dumps(_said(said), sort_keys=True, separators=(",", ":"), default=str)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def wrong(self, problem: str, *, at: str) -> DeclarationError:
        """An error about a dotted key of the manifest, with the file and line that it is in."""
        path = at
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        return DeclarationError(problem, key=at, file=self.file, line=self.lines.get(path))


def _said(value: Any) -> Any:
    """A plain value without what says nothing, so that another version of this package, which knows more keys, agrees."""
    if isinstance(value, Mapping):
        return {key: said for key, one in value.items() if (said := _said(one)) not in (None, False, {}) or key in _TELLING}
    return [_said(one) for one in value] if isinstance(value, list) else value


_TELLING = ("archive", "nullable", "allow_nan", "default")
"""Keys for which false is something else than nothing."""
