"""The shape of a declaration as pydantic models: keys, types and defaults. What they mean together is in `declared`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from timestore_assets.declaration.alert_list import AlertAttributes
from timestore_assets.declaration.evolution_policy import EvolutionAttributes
from timestore_assets.model.dataset import FileFormat
from timestore_assets.model.errors import InputError
from timestore_assets.model.record_form import EpochUnit, Wrapper
from timestore_assets.model.segment import DEFAULT_TARGET
from timestore_assets.model.source_kinds import SOURCE_KINDS, SourceKind
from timestore_assets.model.window import Window, parse_duration, parse_time

KEY_PART = r"[A-Za-z0-9_.-]+"
"""A part of an asset key."""
TARGET_NAME = r"^[a-z][a-z0-9_-]{0,62}$"
"""A storage target's name."""
_SIZE = re.compile(r"(\d+)\s*(B|kB|KB|MB|GB|TB)?")
_SIZE_UNITS = {None: 1, "B": 1, "kB": 1000, "KB": 1000, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    return _or_value_error(parse_duration, str(value))


def parse_size(value: Any) -> int:
    """Bytes of a size such as 256MB; ValueError when it is none."""
    match = _SIZE.fullmatch(str(value).strip())
    if not match:
        raise ValueError("write a size such as 256MB or 1GB")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def _time(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return _or_value_error(parse_time, str(value))


def _or_value_error(parse: Any, text: str) -> Any:
    try:
        return parse(text)
    except InputError as error:
        raise ValueError(str(error)) from None


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
Time = Annotated[datetime, BeforeValidator(_time)]


class Attributes(BaseModel):
    """Base of all: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, defer_build=True)


class ColumnAttributes(Attributes):
    """One column; `temp: double` is short for `temp: {type: double}`."""

    type: str = Field(description="A type: string, bool, int32, int64, float, double, decimal(p,s), date, timestamp, …")
    nullable: bool = Field(False, description="Whether values may be missing.")
    description: str = Field("", description="Shown in the Dagster UI.")
    unit: str = Field("", description="Unit of the values, for instance degF or m/s.")
    field: str | None = Field(
        None,
        alias="from",
        description="Where records have the value, when not in a field of the column's name: `reading_time`, `properties.time`, "
        "`coordinates[0]`.",
    )
    allow_nan: bool = Field(False, description="Keep NaN and infinities instead of refusing the record (`non_finite`).")
    default: Any = Field(None, description="Value of rows that have none: of those that are there, and of records without one.")
    expression: str | None = Field(
        None,
        description="The same, from other declared columns of the row: SQL such as `a + b`; null where it can't be computed.",
    )
    isin: list[Any] | None = Field(None, description="The only values allowed.")
    ge: Any = Field(None, description="Smallest value allowed.")
    gt: Any = Field(None, description="Values must be greater than this.")
    le: Any = Field(None, description="Largest value allowed.")
    lt: Any = Field(None, description="Values must be less than this.")
    matches: str | None = Field(None, description="Regular expression the whole text must match.")
    min_length: int | None = Field(None, ge=0, description="Fewest characters.")
    max_length: int | None = Field(None, ge=0, description="Most characters.")


class DedupeAttributes(Attributes):
    keys: list[str] = Field(
        min_length=1, description="Columns that identify a row; the time and `partition_by` columns are among them."
    )
    keep: Literal["last", "first"] = Field("last", description="Which of the rows with equal keys stays.")
    by: str | None = Field(None, description="Column that decides which row is last; without it the order of arrival does.")


class TimeAttributes(Attributes):
    """How the times of one column are written."""

    format: str | None = Field(
        None,
        description="strptime codes of DuckDB, for instance `%d/%m/%Y %H:%M`, or `rfc2822`, `day_first`, `month_first`, `year`, "
        "`quarter`; "
        "ISO 8601 by default.",
    )
    unit: EpochUnit | None = Field(None, description="The times are numbers: s, ms, us or ns since 1970.")
    columns: list[str] = Field(
        default_factory=list,
        description="Fields that make up the time, such as a date, a clock and the name of its zone, joined with a blank.",
    )
    timezone: str | None = Field(None, description="IANA zone or offset of these times; the source's by default.")


class RecordAttributes(Attributes):
    """How records are written, whatever brings them."""

    decimal: Literal[".", ","] = Field(".", description="Decimal mark of numbers in texts (CSV fields, JSON strings).")
    thousands: str | None = Field(
        None, min_length=1, max_length=1, description="Mark between groups of three digits; a blank is any blank."
    )
    times: dict[str, TimeAttributes] = Field(
        default_factory=dict, description="How times are written, by column; ISO 8601 where nothing is said."
    )
    timezone: str | None = Field(None, description="IANA zone or offset of times without one; UTC by default.")
    wrapper: Wrapper | None = Field(
        None,
        description="What lies around JSON records: `confluent` (a registry's five bytes), `connect` (schema and payload), "
        "`debezium` (the row `after` a change), `bom` (a byte order mark).",
    )
    fields: dict[str, str] = Field(
        default_factory=dict,
        description="Where this source's records have values, by column, as `from` of a column says for all sources.",
    )
    max_record_bytes: Size = Field(1 << 20, description="Longer records become dead letters.")


class TextAttributes(RecordAttributes):
    """How texts are written that records are cut out of: CSV, and JSON lines in a file."""

    delimiter: str = Field(",", min_length=1, max_length=1, description="CSV field separator.")
    quote: str = Field('"', min_length=1, max_length=1, description="CSV quote character.")
    nulls: list[str] = Field(default_factory=list, description="Unquoted CSV texts that mean null, beside the empty one.")
    comment: str | None = Field(None, min_length=1, max_length=8, description="CSV lines that begin with it are left out.")
    skip: int = Field(0, ge=0, le=10_000, description="Lines before the CSV header, whatever they hold.")
    units_row: bool = Field(False, description="The CSV line behind the header holds units and no values.")
    trim: bool = Field(False, description="Blanks around unquoted CSV fields and names are no part of them.")
    encoding: str = Field("utf-8", description="Encoding of text files and of CSV bodies: utf-8, latin-1, cp1252, utf-16, …")


class FilesAttributes(TextAttributes):
    prefix: str = Field(
        min_length=1,
        description="Watched folder, relative ones in TIMESTORE_HOME, or `s3://bucket/prefix/`, `gs://…`, `az://…`; "
        "`{window:%Y/%m/%d}` in it names folders by the time of what they hold, in UTC.",
    )
    glob: str = Field("**/*", description="Which files below it count.")
    format: FileFormat = Field("auto", description="File format; compression is recognised.")
    path: str | None = Field(
        None,
        description="Where the array of records is in a JSON document, for instance `data.readings[*]`.",
    )
    sheet: str | None = Field(None, min_length=1, description="Sheet of a spreadsheet; the first one by default.")
    path_columns: Literal["hive"] | list[str] = Field(
        default_factory=list,
        description="`hive`: folders such as `region=eu/` are columns of what lies in them; or only those of these names.",
    )
    on_change: Literal["reject", "replace"] = Field("reject", description="What a changed file at a landed address does.")
    after: Literal["keep", "delete", "rename"] = Field("keep", description="What happens to a file once it is landed.")


class FlushAttributes(Attributes):
    rows: int = Field(200_000, ge=1, description="Records that are landed at once at most.")
    bytes: Size = Field(64_000_000, ge=1, description="Bytes that are landed at once at most.")
    age: Duration = Field(timedelta(seconds=1), description="How long records may wait to be landed.")


class KafkaAttributes(RecordAttributes):
    topic: str | None = Field(None, description="The topic; or several as `topics`.")
    topics: list[str] = Field(default_factory=list, description="The topics, when there are several.")
    format: Literal["json"] = Field("json", description="Format of the records' values.")
    bootstrap_servers: str | None = Field(
        None, description="`host:port` list of the cluster; TIMESTORE_KAFKA_BOOTSTRAP_SERVERS by default."
    )
    start: Literal["earliest", "latest"] | Time = Field(
        "earliest", description="Where a topic partition that was never read begins: earliest, latest or a time."
    )
    shards: int | Literal["auto"] = Field(
        "auto", description="Sessions that share the topic partitions; auto starts more of them the more lag there is."
    )
    isolation: Literal["read_committed", "read_uncommitted"] = Field(
        "read_committed", description="Whether records of open and aborted transactions are left out."
    )
    group: str | None = Field(
        None, description="Consumer group that shows the offsets to lag tools; timestore-<dataset> by default."
    )
    on_lost_offsets: Literal["stop", "continue"] = Field(
        "stop", description="What happens when the broker deleted records before they were read."
    )
    idle: Duration = Field(
        timedelta(minutes=1), description="How long a topic partition may be silent before the watermark goes on without it."
    )
    flush: FlushAttributes = Field(default_factory=FlushAttributes)
    dead_letter_topic: str | None = Field(None, description="Topic that refused records are produced to as well.")


class HttpAttributes(TextAttributes):
    """What a body's media type leaves open."""

    path: str | None = Field(
        None,
        description="Where the array of records is in a JSON body that is an object, for instance `metrics[*]`; "
        "`records` by default.",
    )


AnySourceAttributes = FilesAttributes | KafkaAttributes | HttpAttributes


class SourceAttributes(Attributes):
    """One source; exactly one key, the kind."""

    files: FilesAttributes | None = Field(None, description="A watched prefix.")
    kafka: KafkaAttributes | None = Field(None, description="Topics of Kafka, Redpanda or what speaks their protocol.")
    http: HttpAttributes | None = Field(None, description="What programs send to the HTTP service; `http: {}` for the defaults.")

    def kinds(self) -> Mapping[SourceKind, AnySourceAttributes | None]:
        """Each kind, with what it says if it is named."""
        return {kind: getattr(self, kind) for kind in SOURCE_KINDS}


class LateAttributes(Attributes):
    allowed: Duration = Field(timedelta(0), description="How long after its end a partition stays open.")
    policy: Literal["drop", "hold", "correct"] = Field("correct", description="What a record for a closed partition does.")


class SegmentsAttributes(Attributes):
    format: Literal["auto", "duckdb", "parquet"] = Field("auto", description="Format of built segments; auto chooses by size.")
    target_bytes: Size = Field(256_000_000, ge=1_000_000, description="Size at which a partition is split into several segments.")
    sort_by: list[str] = Field(default_factory=list, description="Order of built rows; `partition_by` and the time by default.")


class BuildAttributes(Attributes):
    rows: int = Field(1_000_000, ge=1, description="Unbuilt rows that ask for a build.")
    bytes: Size = Field(256_000_000, ge=1, description="Unbuilt bytes that ask for a build.")
    deltas: int = Field(16, ge=1, description="Delta segments that ask for a build.")
    age: Duration = Field(timedelta(minutes=5), description="Age of the oldest delta that asks for a build.")


class TierAttributes(Attributes):
    after: Duration = Field(description="Age of a partition, from its end on, at which its segments move.")
    to: str = Field(pattern=TARGET_NAME, description="Storage target that they move to.")


class RetentionAttributes(Attributes):
    max_age: Duration | None = Field(
        None, description="Age of a partition, from its end on, at which it expires; kept for ever by default."
    )
    max_bytes: Size | None = Field(
        None, ge=1, description="Size of all segments above which the oldest partitions expire; without bound by default."
    )
    keep_versions: Duration | None = Field(
        None,
        description="How long superseded and expired segments stay for `--as-of` and rollback; "
        "TIMESTORE_KEEP_VERSIONS_SECONDS by default.",
    )
    tier: list[TierAttributes] = Field(default_factory=list, description="Storage targets that old partitions move to.")


class AccessAttributes(Attributes):
    read: list[str] = Field(default_factory=list, description="Scopes that may read.")
    write: list[str] = Field(default_factory=list, description="Scopes that may write.")


class FreshnessAttributes(Attributes):
    max_age: Duration | None = Field(
        None, description="How long ago the last build may be before Dagster shows the asset as overdue; from 1m on."
    )


class DatasetAttributes(Attributes):
    """The `attributes` of a `timestore_assets.Dataset`."""

    name: str = Field(description="Lower-case letters, digits and _, beginning with a letter; the asset's key.")
    description: str = Field("", description="Shown in the Dagster UI.")
    owners: list[str] = Field(default_factory=list, description="E-mail addresses or `team:name`.")
    tags: dict[str, str] = Field(default_factory=dict, description="Dagster tags of the asset.")
    columns: dict[str, ColumnAttributes | str] | None = Field(None, description="The columns, in order.")
    pandera: str | None = Field(None, alias="schema", description="Dotted path of a pandera model that stands in for `columns`.")
    time: str = Field(description="The timestamp column that decides a row's partition.")
    window: Window = Field(Window.DAY, description="Length of a partition: hour, day, week, month or year, in UTC; or all.")
    start: Time = Field(description="Start of the first partition; earlier rows are refused.")
    end: Time | None = Field(None, description="Where a finished dataset ends; later rows are refused.")
    partition_by: list[str] = Field(
        default_factory=list, description="Semantic key: built rows are sorted by it, and large keys get segments of their own."
    )
    dedupe: DedupeAttributes | None = Field(None, description="Which rows are the same record.")
    order: Literal["any", "strict"] = Field(
        "any",
        description="`strict` refuses a record that is older than the newest before it, of its source partition and its key: "
        "`dedupe.keys` without the time, else `partition_by`.",
    )
    sources: list[SourceAttributes] = Field(default_factory=list, description="Where records come from.")
    evolution: EvolutionAttributes = Field(default_factory=EvolutionAttributes)
    late: LateAttributes = Field(default_factory=LateAttributes)
    segments: SegmentsAttributes = Field(default_factory=SegmentsAttributes)
    build: BuildAttributes = Field(default_factory=BuildAttributes)
    retention: RetentionAttributes = Field(default_factory=RetentionAttributes)
    access: AccessAttributes = Field(default_factory=AccessAttributes)
    alerts: list[AlertAttributes] = Field(
        default_factory=list, description="When people are told that something is wrong, and where."
    )
    storage: str = Field(
        DEFAULT_TARGET,
        pattern=TARGET_NAME,
        description="Storage target that new segments go to; `default`, or one of TIMESTORE_STORAGE_TARGETS.",
    )
    future_allowed: Duration = Field(timedelta(days=1), description="How far past the current window times may lie.")
    group: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_]*$",
        description="Dagster group of the asset and its sources; `datasets` and `sources` by default.",
    )
    key_prefix: str = Field(
        "",
        pattern=rf"^({KEY_PART}(/{KEY_PART})*)?$",
        description="Goes before the asset's key and those of its sources: `weather/us`.",
    )
    kinds: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,30}$")]] = Field(
        default_factory=list, max_length=8, description="Dagster kinds beside those of the segments' format."
    )
    deps: list[Annotated[str, Field(pattern=rf"^{KEY_PART}(/{KEY_PART})*$")]] = Field(
        default_factory=list, description="Keys of assets that this one depends on beside its sources: `raw/stations`."
    )
    freshness: FreshnessAttributes = Field(default_factory=FreshnessAttributes)
