"""From the YAML or JSON of a migration manifest to its value; mistakes are explained with file and line, as in declarations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from timestore_assets.declaration.attributes import Attributes, ColumnAttributes, Time
from timestore_assets.declaration.from_attributes import check_name
from timestore_assets.declaration.from_yaml import explain, read_mapping
from timestore_assets.migrating.migration_manifest import (
    Add,
    ArchiveFormat,
    Cast,
    Described,
    Drop,
    Governance,
    MigrationManifest,
    Operation,
    Rename,
    Target,
    Transform,
)
from timestore_assets.model.errors import DeclarationError
from timestore_assets.model.types import ColumnType, parse_type

_CHECKS = ("isin", "ge", "gt", "le", "lt", "matches", "min_length", "max_length")
_MOST_OPERATIONS = 1_000


class _NewColumn(Attributes):
    """What may be said about a column that an operation makes."""

    nullable: bool | None = Field(None, description="Whether values may be missing; as it was when left out.")
    unit: str | None = Field(None, description="Unit of its values.")
    description: str | None = Field(None, description="Shown in the Dagster UI.")
    allow_nan: bool | None = Field(None, description="Keep NaN and infinities.")
    isin: list[Any] | None = Field(None, description="The only values allowed from now on.")
    ge: Any = Field(None, description="Smallest value allowed.")
    gt: Any = Field(None, description="Values must be greater than this.")
    le: Any = Field(None, description="Largest value allowed.")
    lt: Any = Field(None, description="Values must be less than this.")
    matches: str | None = Field(None, description="Regular expression the whole text must match.")
    min_length: int | None = Field(None, ge=0, description="Fewest characters.")
    max_length: int | None = Field(None, ge=0, description="Most characters.")

    def described(self) -> Described:
        return Described(
            nullable=self.nullable,
            unit=self.unit,
            description=self.description,
            allow_nan=self.allow_nan,
            checks={key: value for key in _CHECKS if (value := getattr(self, key)) is not None},
        )


class _Computed(_NewColumn):
    on_error: Literal["stop", "null"] | None = Field(
        "stop", description="`null`: values that it can't be computed for become NULL; else nothing is done when there are any."
    )

    @property
    def nulls(self) -> bool:
        return self.on_error != "stop"  # an unquoted null of YAML is None


class RenameAttributes(_Computed):
    source: str = Field(alias="from", description="What the column is called now.")
    to: str = Field(description="What it is to be called.")
    expression: str | None = Field(None, description="Its values from those of before, when they change too; a row's SQL.")
    to_type: str | None = Field(None, description="Type of the expression's values, when it is not to be what DuckDB says.")
    aliases_until: Time | None = Field(None, description="Until when producers may send the old name; for ever when left out.")
    incoming: Literal["new", "old"] | None = Field(None, description="What producers send under a name that is used again.")
    inverse: str | None = Field(None, description="Expression over the new column that gives the old values.")


class TransformAttributes(_Computed):
    column: str = Field(description="The column whose values change.")
    expression: str = Field(description="Its values from those of before: a row's SQL.")
    to_type: str | None = Field(None, description="Type of the new values.")
    incoming: Literal["new", "old"] | None = Field(
        None, description="What producers send from now on: `new` values, or still `old` ones."
    )
    inverse: str | None = Field(None, description="Expression over the new column that gives the old values.")


class CastAttributes(Attributes):
    column: str = Field(description="The column whose type changes.")
    type: str = Field(description="Its new type.")
    on_error: Literal["stop", "null"] | None = Field("stop", description="`null`: values that don't fit become NULL.")
    inverse: str | None = Field(None, description="Expression over the new column that gives the old values.")


class DropAttributes(Attributes):
    column: str = Field(description="The column that goes.")
    archive: bool | None = Field(None, description="Keep its values in files of their own; `false` says that they may go.")
    purge: bool = Field(False, description="Rewrite the partitions, so that no file has its values any more.")


class AddAttributes(_Computed):
    column: str = Field(description="Its name.")
    type: str = Field(description="Its type.")
    default: bool | int | float | str | None = Field(None, description="Value of the rows that are there.")
    expression: str | None = Field(None, description="Values of the rows that are there, from their other columns.")
    incoming: Literal["new", "old"] | None = Field(None, description="What producers send under a name that is used again.")


class OperationAttributes(Attributes):
    """One operation: exactly one of these keys."""

    rename: RenameAttributes | None = Field(None, description="Call a column something else.")
    transform: TransformAttributes | None = Field(None, description="Change a column's values.")
    cast: CastAttributes | None = Field(None, description="Change a column's type.")
    drop: DropAttributes | None = Field(None, description="Take a column away.")
    add: AddAttributes | None = Field(None, description="Add a column.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1 or self.what is None:
            raise ValueError("write one of rename, transform, cast, drop and add, with what it needs below it")
        return self

    @property
    def what(self) -> Attributes | None:
        return self.rename or self.transform or self.cast or self.drop or self.add


class GovernanceAttributes(Attributes):
    ticket: str = Field(alias="ticketId", min_length=1, max_length=200, description="Ticket that asks for it.")
    approved_by: str = Field(alias="approvedBy", min_length=1, max_length=200, description="Who has approved it.")


class ExecutionAttributes(Attributes):
    dry_run: bool = Field(True, alias="dryRun", description="Only say what it would do.")
    archive_directory: str | None = Field(
        None, alias="archiveDirectory", min_length=1, description="Folder of the machine that carries it out, where archives go."
    )
    archive_target: str | None = Field(
        None, alias="archiveTarget", min_length=1, max_length=200, description="Storage target that archives go to."
    )
    archive_format: ArchiveFormat = Field("jsonl", alias="archiveFormat", description="What archives are: jsonl or parquet.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.archive_directory is not None and self.archive_target is not None:
            raise ValueError("archives go into a folder or into a storage target: write archiveDirectory or archiveTarget")
        return self


class AllowAttributes(Attributes):
    broken_queries: bool = Field(False, alias="brokenQueries", description="Saved queries may fail afterwards.")


class TargetAttributes(Attributes):
    type: str = Field(description="Its type.")
    nullable: bool | None = Field(None, description="Whether values may be missing.")


class ManifestAttributes(Attributes):
    """The whole manifest."""

    dataset: str = Field(description="Name of the dataset.")
    governance: GovernanceAttributes = Field(description="Who wants it and who has approved it: ticketId and approvedBy.")
    operations: list[OperationAttributes] = Field(max_length=_MOST_OPERATIONS, description="What is done, in this order.")
    incoming: Literal["new", "old"] | None = Field(
        None, description="`new` ends what an `incoming: old` began; as of the operations, for all of them."
    )
    target: dict[str, TargetAttributes | str] | None = Field(
        None, alias="targetSchema", description="All columns and types that there are expected to be afterwards."
    )
    execution: ExecutionAttributes = Field(default_factory=lambda: ExecutionAttributes(), description="How it is carried out.")
    rewrite: Literal["needed", "all"] = Field("needed", description="`all`: rewrite what could be read as it is, too.")
    allow: AllowAttributes = Field(default_factory=lambda: AllowAttributes(), description="What is refused by default.")


def read_manifest(text: str, *, file: str = "") -> MigrationManifest:
    """The manifest that a text in YAML (or JSON, which is some) holds.

    Raises:
        DeclarationError: with file, line, key, and what to write instead.
    """
    plain, lines = read_mapping(text, file=file, what="a migration manifest")
    try:
        return manifest_of(plain, file=file, lines=lines)
    except DeclarationError as error:
        path = error.key
        while path and path not in lines:
            path = path.rpartition(".")[0]
        raise error.located(file=file, line=lines.get(path, 1)) from None


def manifest_of(plain: Mapping[str, Any], *, file: str = "", lines: Mapping[str, int] | None = None) -> MigrationManifest:
    """The manifest that JSON values describe; DeclarationError with the key that is wrong."""
    try:
        parsed = ManifestAttributes.model_validate(dict(plain))
    except ValidationError as error:
        raise explain(error, ManifestAttributes) from None
    try:
        check_name(parsed.dataset)
    except DeclarationError as error:
        raise DeclarationError(error.problem, key="dataset") from None
    return MigrationManifest(
        dataset=parsed.dataset,
        governance=Governance(ticket=parsed.governance.ticket, approved_by=parsed.governance.approved_by),
        operations=tuple(_operation(one.what, f"operations.{i}") for i, one in enumerate(parsed.operations)),
        target=None if parsed.target is None else {name: _target(name, one) for name, one in parsed.target.items()},
        dry_run=parsed.execution.dry_run,
        archive_directory=parsed.execution.archive_directory,
        archive_target=parsed.execution.archive_target,
        archive_format=parsed.execution.archive_format,
        incoming=parsed.incoming,
        rewrites_all=parsed.rewrite == "all",
        allows_broken_queries=parsed.allow.broken_queries,
        plain=json.loads(json.dumps(dict(plain), default=_as_written)),
        file=file,
        lines=lines or {},
    )


def _as_written(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _operation(one: Attributes | None, key: str) -> Operation:
    match one:
        case RenameAttributes():
            at = f"{key}.rename"
            if one.expression is None and (extra := _only_computed(one)):
                wrong = "is for a column whose values change; write `expression` too, or leave it out"
                raise DeclarationError(wrong, key=f"{at}.{extra}")
            return Rename(
                column=one.source,
                to=one.to,
                expression=one.expression,
                to_type=_type(one.to_type, f"{at}.to_type"),
                until=one.aliases_until,
                incoming=one.incoming,
                nulls=one.nulls,
                inverse=one.inverse,
                described=one.described(),
            )
        case TransformAttributes():
            return Transform(
                column=one.column,
                expression=one.expression,
                to_type=_type(one.to_type, f"{key}.transform.to_type"),
                incoming=one.incoming,
                nulls=one.nulls,
                inverse=one.inverse,
                described=one.described(),
            )
        case CastAttributes():
            kind = _required(one.type, f"{key}.cast.type")
            return Cast(column=one.column, type=kind, nulls=one.on_error != "stop", inverse=one.inverse)
        case DropAttributes():
            return Drop(column=one.column, archive=one.archive, purge=one.purge)
        case AddAttributes():
            kind = _required(one.type, f"{key}.add.type")
            if one.default is not None and one.expression is not None:
                raise DeclarationError("stands beside `default`; write one of them", key=f"{key}.add.expression")
            return Add(
                column=one.column,
                type=kind,
                default=one.default,
                expression=one.expression,
                incoming=one.incoming,
                nulls=one.nulls,
                described=one.described(),
            )
    raise AssertionError(one)


def _only_computed(one: RenameAttributes) -> str:
    """A key that a plain rename has no use for; empty when there is none."""
    return next((name for name in one.model_fields_set if name not in ("source", "to", "aliases_until", "incoming")), "")


def _type(text: str | None, key: str) -> ColumnType | None:
    return None if text is None else _required(text, key)


def _required(text: str, key: str) -> ColumnType:
    try:
        return parse_type(text)
    except DeclarationError as error:
        raise DeclarationError(error.problem, key=key) from None


def _target(name: str, one: TargetAttributes | ColumnAttributes | str) -> Target:
    key = f"targetSchema.{name}"
    if isinstance(one, str):
        return Target(type=_required(one, key))
    return Target(type=_required(one.type, f"{key}.type"), nullable=getattr(one, "nullable", None))
