"""A declared dataset, as a frozen value. `declaration.from_yaml` makes it from YAML; the catalog remembers it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from timestore_assets.model.alert import Alert
from timestore_assets.model.contract import ContractMode
from timestore_assets.model.errors import InputError
from timestore_assets.model.record_form import PLAIN, PathColumns, RecordForm
from timestore_assets.model.retention import FOR_EVER, Retention
from timestore_assets.model.schema import Schema
from timestore_assets.model.segment import DEFAULT_TARGET
from timestore_assets.model.text_encoding import UTF_8
from timestore_assets.model.time_path import TimePath, parse_time_path
from timestore_assets.model.window import Partition, Window

FileFormat = Literal["auto", "csv", "jsonl", "json", "envelopes", "parquet", "arrow", "orc", "avro", "spreadsheet"]
"""`json`: one document that holds the records; `arrow`: IPC files and streams; `spreadsheet`: Excel and OpenDocument."""
BackfillPolicy = Literal["auto", "ask", "never"]
"""Whether partitions are rewritten for a new schema version by themselves, when a person says so, or not at all."""
STORE_SCHEMES = ("s3", "gs", "az")
"""Of URIs of objects: S3 and compatible, Google Cloud Storage, Azure Blob."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvDialect:
    """How a CSV file is written.

    `nulls`: unquoted texts that mean null, beside the empty one. `comment`: records that begin with it are left out. `skip`:
    physical lines before the header. `units_row`: the record behind the header holds units. `trim`: blanks around unquoted fields
    and names are no part of them. `encoding`: a name of `text_encoding`.
    """

    delimiter: str = ","
    quote: str = '"'
    nulls: tuple[str, ...] = ()
    comment: str | None = None
    skip: int = 0
    units_row: bool = False
    trim: bool = False
    encoding: str = UTF_8


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSource:
    """A watched prefix.

    `prefix`: folder, relative to `TIMESTORE_HOME` or absolute, or `s3://bucket/prefix/`, `gs://…`, `az://…`; it may name folders
    by time, as `raw/{window:%Y/%m/%d}/`. Files below it that match `glob` are landed. `path`: names of the members that lead to
    the array of records in a JSON document. `sheet`: of a spreadsheet, the first one when None. `timezone`: IANA name or offset
    of naive times, UTC when None. `path_columns`: which `name=value` folders of a file's address are columns: `hive` for all of
    them, else those of these names. `max_record_bytes`: longer records become dead letters.
    """

    prefix: str
    glob: str = "**/*"
    format: FileFormat = "auto"
    path: tuple[str, ...] = ()
    sheet: str | None = None
    csv: CsvDialect = CsvDialect()
    form: RecordForm = PLAIN
    path_columns: PathColumns = ()
    timezone: str | None = None
    on_change: Literal["reject", "replace"] = "reject"
    after: Literal["keep", "delete", "rename"] = "keep"
    max_record_bytes: int = 1 << 20

    @property
    def kind(self) -> Literal["files"]:
        return "files"

    @property
    def address(self) -> str:
        """What identifies this source inside its dataset."""
        return f"{self.prefix.rstrip('/')}/{self.glob}"

    @property
    def scheme(self) -> str | None:
        """`s3`, `gs` or `az` when the prefix is in an object store, None when it is a folder."""
        return self.prefix.partition("://")[0] if "://" in self.prefix else None

    @property
    def times(self) -> TimePath | None:
        """How folders below the prefix are named after the time of what they hold; None when they aren't."""
        return parse_time_path(self.prefix)


@dataclass(frozen=True, kw_only=True, slots=True)
class FlushPolicy:
    """When what was read from topics is landed: the first of these that is reached. `age`: by the wall clock, records or not."""

    rows: int = 200_000
    bytes: int = 64_000_000
    age: timedelta = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class KafkaSource:
    """Topics of a cluster that speaks Kafka's protocol (Kafka, Redpanda).

    `bootstrap_servers`: None for the deployment's (`TIMESTORE_KAFKA_BOOTSTRAP_SERVERS`). `start`: where a topic partition
    without a checkpoint begins; a time means the first record of that time or later. `shards`: sessions that share the topic
    partitions; `auto` by the lag. `group`: consumer group that the offsets are mirrored to, for lag tools. `idle`: how long a
    topic partition may have nothing more to read before the watermark no longer waits for it. `max_record_bytes`: longer
    records become dead letters.
    """

    topics: tuple[str, ...]
    format: Literal["json"] = "json"
    bootstrap_servers: str | None = None
    start: Literal["earliest", "latest"] | datetime = "earliest"
    shards: int | Literal["auto"] = "auto"
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed"
    group: str | None = None
    on_lost_offsets: Literal["stop", "continue"] = "stop"
    idle: timedelta = timedelta(minutes=1)
    flush: FlushPolicy = FlushPolicy()
    dead_letter_topic: str | None = None
    form: RecordForm = PLAIN
    timezone: str | None = None
    max_record_bytes: int = 1 << 20

    @property
    def kind(self) -> Literal["kafka"]:
        return "kafka"

    @property
    def address(self) -> str:
        """What identifies this source inside its dataset."""
        return ",".join(self.topics)

    def group_of(self, dataset: str) -> str:
        """The consumer group that shows how far this source is."""
        return self.group or f"timestore-{dataset}"


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpSource:
    """Records that programs send to the HTTP service.

    `csv`: dialect of CSV bodies. `path`: names of the members that lead to the array of records in a JSON body. `timezone`: IANA
    name for naive times, UTC when None. `max_record_bytes`: longer records become dead letters.
    """

    path: tuple[str, ...] = ()
    csv: CsvDialect = CsvDialect()
    form: RecordForm = PLAIN
    timezone: str | None = None
    max_record_bytes: int = 1 << 20

    @property
    def kind(self) -> Literal["http"]:
        return "http"

    @property
    def address(self) -> str:
        """What identifies this source inside its dataset; there is one, and no topic has such a name."""
        return "/ingest"


Source = FileSource | KafkaSource | HttpSource
"""Any source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dedupe:
    """Of rows with equal `keys` one is kept: the last or first by column `by`, or by arrival when `by` is None."""

    keys: tuple[str, ...]
    keep: Literal["last", "first"] = "last"
    by: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Evolution:
    """What happens to columns nobody declared, and to values of theirs that need a wider type.

    `backfill`: whether partitions of before a schema version are rewritten by themselves, when a person says so, or not at all.
    """

    columns: ContractMode = "evolve"
    """A record has a value in a column that the dataset does not have."""
    types: ContractMode = "evolve"
    """A value does not fit the type of a column that was found in the data."""
    max_new_columns: int = 50
    """A day; records with more are dead letters."""
    notify: tuple[str, ...] = ()
    """Channels that get each schema version as a message."""
    backfill: BackfillPolicy = "ask"


@dataclass(frozen=True, kw_only=True, slots=True)
class Late:
    """`allowed`: how long after its end a partition still counts as open."""

    allowed: timedelta = timedelta(0)
    policy: Literal["drop", "hold", "correct"] = "correct"


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentPolicy:
    """How sealed segments are made: `auto` is `.duckdb` from 250,000 rows up, and Parquet below and in buckets."""

    format: Literal["auto", "duckdb", "parquet"] = "auto"
    target_bytes: int = 256_000_000
    sort_by: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildPolicy:
    """When the build sensor asks for a partition: the first threshold that its deltas reach.

    `age` counts from the oldest unbuilt delta; a closed partition is asked for at once.
    """

    rows: int = 1_000_000
    bytes: int = 256_000_000
    deltas: int = 16
    age: timedelta = timedelta(minutes=5)
    retries: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Freshness:
    """`max_age`: how long ago the last build may be; None when nothing is promised."""

    max_age: timedelta | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A declared time-series table.

    `start`, `end`: aware UTC; rows before `start`, from `end` on, or later than the current window plus `future_allowed` are
    dead letters `out_of_range`. `schema`: as declared (the catalog's may have evolved further). `pandera_model`: dotted
    path of a person's own pandera model, from which the columns were derived and which also validates. `order`: under `strict` a
    record is refused when one before it in its source partition, with its key, had a later time. `is_behind`: columns and
    keys are the catalog's, since another process has declared newer ones; the model is of before those then. `renames`: what
    columns are called now, by the names that the sources have for them, where those differ.
    `group`, `key_prefix`, `kinds`, `deps`: how Dagster shows the asset; `deps` are keys of
    assets that it depends on beside its sources.
    """

    name: str
    schema: Schema
    time: str
    start: datetime
    window: Window = Window.DAY
    end: datetime | None = None
    description: str = ""
    owners: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    pandera_model: str | None = None
    partition_by: tuple[str, ...] = ()
    dedupe: Dedupe | None = None
    order: Literal["any", "strict"] = "any"
    sources: tuple[Source, ...] = ()
    evolution: Evolution = Evolution()
    late: Late = Late()
    segments: SegmentPolicy = SegmentPolicy()
    build: BuildPolicy = BuildPolicy()
    retention: Retention = FOR_EVER
    alerts: tuple[Alert, ...] = ()
    access: Access = Access()
    storage: str = DEFAULT_TARGET
    future_allowed: timedelta = timedelta(days=1)
    is_behind: bool = False
    renames: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    group: str = ""
    key_prefix: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    deps: tuple[tuple[str, ...], ...] = ()
    freshness: Freshness = Freshness()

    def form_of(self, source: Source) -> RecordForm:
        """How the records of a source are written, by what columns are called now."""
        return source.form.with_columns(dict(self.renames))

    @property
    def file_sources(self) -> tuple[FileSource, ...]:
        return tuple(source for source in self.sources if isinstance(source, FileSource))

    @property
    def kafka_sources(self) -> tuple[KafkaSource, ...]:
        return tuple(source for source in self.sources if isinstance(source, KafkaSource))

    @property
    def http_source(self) -> HttpSource | None:
        """The source that stands for the HTTP service, None when it takes nothing for this dataset."""
        return next((source for source in self.sources if isinstance(source, HttpSource)), None)

    @property
    def sort_columns(self) -> tuple[str, ...]:
        """Columns that sealed rows are sorted by: as declared, else `partition_by`, then the time."""
        return self.segments.sort_by or tuple(dict.fromkeys((*self.partition_by, self.time)))

    @property
    def is_strict(self) -> bool:
        """Whether records have to come in the order of time, key by key."""
        return self.order == "strict"

    @property
    def order_keys(self) -> tuple[str, ...]:
        """Columns whose records have an order of their own under `strict`; none: all of a source partition have one."""
        keys = self.dedupe.keys if self.dedupe else ()
        return tuple(name for name in keys if name != self.time) or self.partition_by

    def upper_bound(self, now: datetime) -> datetime:
        """Times from here on are out of range: the end of the current window plus `future_allowed`, or `end`.

        A window without an end counts as a day here.
        """
        window = Window.DAY if self.window is Window.ALL else self.window
        limit = window.after(window.start_of(now)) + self.future_allowed
        return min(limit, self.end) if self.end else limit

    def partitions_between(self, start: datetime | None, end: datetime | None, now: datetime) -> tuple[Partition, ...]:
        """Partitions of this dataset that intersect `[start, end)`; None means its own bound."""
        first = max(start or self.start, self.start)
        last = min(end or self.upper_bound(now), self.upper_bound(now))
        return tuple(self.window.between(first, last))

    def partition(self, key: str) -> Partition:
        """The partition a key names.

        Raises:
            InputError: no partition of this dataset has that key.
        """
        partition = self.window.parse_key(key)
        if partition.end <= self.start or (self.end and partition.start >= self.end):
            raise InputError(f"partition {key!r} is outside dataset {self.name!r}, which starts at {self.start:%Y-%m-%d}")
        return partition

    def definition(self) -> dict[str, Any]:
        """The dataset as plain JSON values, for the catalog and for `describe --json`."""
        from timestore_assets.model.schema import to_plain

        plain: dict[str, Any] = to_plain(self)
        # how this process stands to the catalog, and what only that knows of the columns, was not declared
        del plain["is_behind"], plain["renames"], plain["schema"]["retired"], plain["schema"]["incoming"]
        del plain["schema"]["endings"]
        for column in plain["schema"]["columns"]:
            del column["id"], column["aliases"], column["expression"]
            # said only where it was: a process that knows no defaults reads and writes all other definitions as before
            default = {key: value for key, value in (column.pop("default") or {}).items() if value is not None}
            column.update({"default": default} if default else {})
        return plain
