"""What is said about an answer beside its rows: where it comes from, how far it is complete, what its columns are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from timestore_assets.model.window import format_time
from timestore_assets.querying.answer import Completeness, Streaming

_LONGEST_HEADER = 2_000


class CamelCaseModel(BaseModel):
    """Base of what goes in and out as JSON: names in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class ColumnFacts(CamelCaseModel):
    name: str = Field(examples=["temp"])
    type: str = Field(description="As in a declaration, or DuckDB's for what SQL can give beyond that.", examples=["double"])
    unit: str = Field("", examples=["degC"])


class SourceFacts(CamelCaseModel):
    """One partition of a topic."""

    source: str = Field(examples=["kafka:weather"])
    source_partition: str = Field(examples=["weather/0"])
    position: int = Field(description="Offset up to which it has landed.", examples=[4711])
    newest: str | None = Field(description="Newest event time landed from it.", examples=["2024-01-01T00:59:00Z"])
    watermark: str | None = Field(description="No more records are expected before it.", examples=["2024-01-01T00:58:00Z"])


class CompletenessFacts(CamelCaseModel):
    complete_through: str | None = Field(
        description="Nothing more is expected before it; null where nobody can know (files and HTTP, older versions).",
        examples=["2024-01-01T00:58:00Z"],
    )
    sources: list[SourceFacts] = []


class StreamingFacts(CamelCaseModel):
    """Rows that were merged in before they landed."""

    buffer_state: str = Field(examples=["ready"])
    merged_rows: int = Field(examples=[12])
    watermark: str | None = None
    fresh: bool = Field(description="Whether all that had been produced a moment before is in the answer.", examples=[True])


class AnswerFacts(CamelCaseModel):
    """What is said about any answer."""

    scanned: int = Field(description="Segments that were read.", examples=[3])
    pruned: int = Field(description="Segments that did not have to be.", examples=[40])
    warnings: list[str] = []
    columns: list[ColumnFacts] = []

    def headers(self) -> dict[str, str]:
        """The same as header fields, for formats that have no room for it."""
        return as_headers(self.model_dump(by_alias=True, exclude={"columns"}))


class SqlFacts(AnswerFacts):
    """What is said about an answer of SQL."""

    manifest_versions: dict[str, int] = Field(description="Version of each dataset that was read.", examples=[{"weather": 7}])
    cached: bool = Field(False, description="Whether the answer had been computed before, from the same versions.")


class QueryFacts(AnswerFacts):
    """What is said about an answer of a dataset."""

    dataset: str = Field(examples=["weather"])
    manifest_version: int = Field(description="The version that the rows are of.", examples=[7])
    completeness: CompletenessFacts
    streaming: StreamingFacts | None = Field(None, description="What was merged before it landed; null where nothing could be.")

    def headers(self) -> dict[str, str]:
        """The same; of a completeness that would be too long only `completeThrough` is left."""
        name, found = "X-Timestore-Completeness", AnswerFacts.headers(self)
        return found if name in found else found | {name: _header({"completeThrough": self.completeness.complete_through})}


def as_headers(members: Mapping[str, Any]) -> dict[str, str]:
    """JSON members as header fields; null and what would be too long is left out."""
    texts = {f"X-Timestore-{_dashed(name)}": _header(value) for name, value in members.items() if value is not None}
    return {name: text for name, text in texts.items() if len(text) <= _LONGEST_HEADER}


def columns_of(schema: pa.Schema) -> list[ColumnFacts]:
    """The columns of an answer."""
    units = [(field.metadata or {}).get(b"unit", b"").decode() for field in schema]
    return [
        ColumnFacts(name=field.name, type=type_name(field.type), unit=unit) for field, unit in zip(schema, units, strict=True)
    ]


def type_name(kind: pa.DataType) -> str:
    """An Arrow type as declarations write it."""
    if pa.types.is_list(kind):
        return f"list<{type_name(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return "struct<" + ", ".join(f"{field.name}: {type_name(field.type)}" for field in kind) + ">"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    text = str(kind)
    known = {"float": "float", "date32[day]": "date", "large_string": "string", "time64[us]": "time", "large_binary": "binary"}
    return known.get(text, text)


def completeness_facts(found: Completeness) -> CompletenessFacts:
    return CompletenessFacts(
        complete_through=_time(found.complete_through),
        sources=[
            SourceFacts(
                source=one.source,
                source_partition=one.source_partition,
                position=one.position,
                newest=_time(one.newest),
                watermark=_time(one.watermark),
            )
            for one in found.sources
        ],
    )


def streaming_facts(found: Streaming | None) -> StreamingFacts | None:
    if found is None:
        return None
    return StreamingFacts(
        buffer_state=found.buffer_state, merged_rows=found.merged_rows, watermark=_time(found.watermark), fresh=found.fresh
    )


def _time(time: Any) -> str | None:
    return None if time is None else format_time(time)


def _header(value: Any) -> str:
    """A header's text: numbers and names as they are, anything else as JSON in ASCII."""
    if isinstance(value, Mapping | list):
        return json.dumps(value, separators=(",", ":"))
    return str(value)


def _dashed(name: str) -> str:
    """`manifestVersion` as `Manifest-Version`."""
    return "".join(f"-{char}" if char.isupper() else char for char in name[:1].upper() + name[1:]).lstrip("-")
