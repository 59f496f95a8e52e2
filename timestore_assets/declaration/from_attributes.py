"""From parsed attributes to a `Dataset`, refusing what can't be meant."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar, assert_never

from timestore_assets.declaration.alert_list import alerts_of
from timestore_assets.declaration.attributes import (
    AnySourceAttributes,
    ColumnAttributes,
    DatasetAttributes,
    FilesAttributes,
    HttpAttributes,
    KafkaAttributes,
)
from timestore_assets.declaration.evolution_policy import evolution_of
from timestore_assets.declaration.field_paths import field_path, json_path, with_fields
from timestore_assets.declaration.record_forms import check_zone, csv_dialect, path_columns, record_form
from timestore_assets.extras import extra
from timestore_assets.model.dataset import (
    STORE_SCHEMES,
    Access,
    BuildPolicy,
    Dataset,
    Dedupe,
    FileSource,
    FlushPolicy,
    Freshness,
    HttpSource,
    KafkaSource,
    Late,
    SegmentPolicy,
    Source,
)
from timestore_assets.model.errors import DeclarationError, InputError
from timestore_assets.model.retention import Retention, Tier, check_retention
from timestore_assets.model.schema import Checks, Column, ColumnDefault, Schema
from timestore_assets.model.time_path import parse_time_path
from timestore_assets.model.types import ColumnType, parse_type
from timestore_assets.model.window import format_time, parse_time

Number = TypeVar("Number", float, Decimal)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_SHORTEST_AGE = timedelta(minutes=1)
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_KEY_KINDS = ("string", "int32", "int64", "bool", "date")


def check_name(name: str) -> None:
    """DeclarationError when that can't be the name of a dataset."""
    if not _NAME.fullmatch(name):
        raise DeclarationError(
            f"is {name!r}; write lower-case letters, digits and _, beginning with a letter, at most 63", key="name"
        )


def to_dataset(attributes: DatasetAttributes) -> Dataset:
    """The dataset that the attributes describe.

    Raises:
        DeclarationError: with the key that is wrong and what to write instead.
    """
    check_name(attributes.name)
    schema = _schema(attributes)
    _check_references(attributes, schema)
    if attributes.end is not None and attributes.end <= attributes.start:
        raise DeclarationError(f"is not after start ({format_time(attributes.start)})", key="end")
    if attributes.order == "strict" and any(one.http is not None for one in attributes.sources):
        raise DeclarationError("can't be `strict` with an `http` source: requests have no order among themselves", key="order")
    return Dataset(
        name=attributes.name,
        schema=schema,
        time=attributes.time,
        start=attributes.start,
        end=attributes.end,
        window=attributes.window,
        description=attributes.description.strip(),
        owners=tuple(attributes.owners),
        tags=tuple(sorted(attributes.tags.items())),
        pandera_model=attributes.pandera,
        partition_by=tuple(attributes.partition_by),
        dedupe=_dedupe(attributes, schema),
        order=attributes.order,
        sources=_sources(attributes, schema),
        evolution=evolution_of(attributes.evolution),
        late=Late(**dict(attributes.late)),
        segments=_segments(attributes),
        build=BuildPolicy(**dict(attributes.build)),
        retention=_retention(attributes),
        access=Access(read=tuple(attributes.access.read), write=tuple(attributes.access.write)),
        alerts=alerts_of(attributes.alerts),
        storage=attributes.storage,
        future_allowed=attributes.future_allowed,
        group=attributes.group,
        key_prefix=tuple(part for part in attributes.key_prefix.split("/") if part),
        kinds=tuple(sorted(attributes.kinds)),
        deps=tuple(tuple(key.split("/")) for key in attributes.deps),
        freshness=_freshness(attributes),
    )


def _retention(attributes: DatasetAttributes) -> Retention:
    declared = attributes.retention
    retention = Retention(
        max_age=declared.max_age,
        max_bytes=declared.max_bytes,
        keep_versions=declared.keep_versions,
        tier=tuple(sorted((Tier(after=one.after, to=one.to) for one in declared.tier), key=lambda one: one.after)),
    )
    try:
        check_retention(retention)
    except InputError as error:
        raise DeclarationError(str(error), key="retention") from None
    return retention


def _freshness(attributes: DatasetAttributes) -> Freshness:
    max_age = attributes.freshness.max_age
    if max_age is not None and max_age < _SHORTEST_AGE:
        raise DeclarationError("is shorter than Dagster looks; write 1m or more", key="freshness.max_age")
    return Freshness(max_age=max_age)


def _schema(attributes: DatasetAttributes) -> Schema:
    if (attributes.columns is None) == (attributes.pandera is None):
        raise DeclarationError("write either `columns:` or `schema:` (a pandera model's dotted path), not both", key="columns")
    if attributes.pandera is not None:
        with extra("checks"):
            from timestore_assets.declaration.pandera_model import columns_of_model

        return Schema(columns=columns_of_model(attributes.pandera))
    columns = tuple(to_column(name, column) for name, column in (attributes.columns or {}).items())
    if not columns:
        raise DeclarationError("is empty; declare at least the time column", key="columns")
    _refuse_case_twins(columns)
    return Schema(columns=columns)


def _refuse_case_twins(columns: Iterable[Column]) -> None:
    seen: dict[str, str] = {}
    for column in columns:
        if other := seen.get(column.name.casefold()):
            raise DeclarationError(f"differs from {other!r} only by case; rename one", key=f"columns.{column.name}")
        seen[column.name.casefold()] = column.name


def to_column(name: str, attributes: ColumnAttributes | str) -> Column:
    """The column that attributes describe; DeclarationError, with its key below `columns`, when they can't be meant."""
    key = f"columns.{name}"
    if not name or name.startswith("__") or not name.isprintable():
        raise DeclarationError("is no column name: it is empty, begins with __ (reserved) or isn't printable", key=key)
    if isinstance(attributes, str):
        attributes = ColumnAttributes(type=attributes)
    try:
        kind = parse_type(attributes.type)
    except DeclarationError as error:
        raise DeclarationError(error.problem, key=f"{key}.type") from None
    checks = _checks(key, kind, attributes)
    return Column(
        name=name,
        type=kind,
        nullable=attributes.nullable,
        description=attributes.description.strip(),
        unit=attributes.unit,
        allow_nan=attributes.allow_nan,
        checks=checks,
        default=_default(key, kind, attributes, checks),
    )


def _default(key: str, kind: ColumnType, attributes: ColumnAttributes, checks: Checks) -> ColumnDefault | None:
    if attributes.expression is not None:
        if attributes.default is not None:
            raise DeclarationError("stands beside `default`; write one of them", key=f"{key}.expression")
        if not attributes.nullable:
            raise DeclarationError(
                "is null where it can't be computed, so the column must be nullable; write `nullable: true` too",
                key=f"{key}.expression",
            )
        return ColumnDefault(expression=attributes.expression.strip())
    if attributes.default is None:
        return None
    if kind.is_nested or kind.kind == "binary":
        raise DeclarationError(f"can't be written for a {kind} column; use `expression`", key=f"{key}.default")
    default = _value(attributes.default, kind, f"{key}.default")
    if (broken := _broken(checks, kind, default)) is not None:
        raise DeclarationError(f"is {default!r}, which the column's own `{broken}` refuses", key=f"{key}.default")
    return ColumnDefault(value=float(default) if kind.kind in ("float", "double") else default)


def _broken(checks: Checks, kind: ColumnType, value: Any) -> str | None:
    """The check that a value does not pass, both as `Checks` writes them; None when it passes all."""

    def ordered(one: Any) -> Any:
        return Decimal(one) if kind.kind == "decimal" else parse_time(one) if kind.kind == "timestamp" else one

    bounds = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}
    for name, holds in bounds.items():
        bound = getattr(checks, name)
        if bound is not None and not holds(ordered(value), ordered(bound)):
            return name
    if checks.isin is not None and ordered(value) not in map(ordered, checks.isin):
        return "isin"
    if checks.matches is not None and not re.fullmatch(checks.matches, value):
        return "matches"
    if checks.min_length is not None and len(value) < checks.min_length:
        return "min_length"
    return "max_length" if checks.max_length is not None and len(value) > checks.max_length else None


def _checks(key: str, kind: ColumnType, attributes: ColumnAttributes) -> Checks:
    values: dict[str, Any] = {}
    for name in ("ge", "gt", "le", "lt"):
        bound = getattr(attributes, name)
        if bound is not None:
            if not (kind.is_numeric or kind.kind in ("date", "timestamp")):
                raise DeclarationError(f"a {kind} column has no order to bound; use isin or matches", key=f"{key}.{name}")
            values[name] = _value(bound, kind, f"{key}.{name}")
    if attributes.isin is not None:
        if not attributes.isin or kind.is_nested:
            raise DeclarationError("needs at least one value, and a column that is no list or struct", key=f"{key}.isin")
        values["isin"] = tuple(_value(value, kind, f"{key}.isin") for value in attributes.isin)
    for name in ("matches", "min_length", "max_length"):
        if getattr(attributes, name) is not None:
            if kind.kind != "string":
                raise DeclarationError(f"applies to string columns, this one is {kind}", key=f"{key}.{name}")
            values[name] = getattr(attributes, name)
    if attributes.matches is not None:
        _check_pattern(attributes.matches, f"{key}.matches")
    return Checks(**values)


def _check_pattern(pattern: str, key: str) -> None:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise DeclarationError(f"is no regular expression: {error}", key=key) from None


def _value(value: Any, kind: ColumnType, key: str) -> Any:
    """A bound or choice in the form `Checks` documents for the column's type."""
    try:
        if kind.kind == "timestamp":
            return format_time(parse_time(value.isoformat() if isinstance(value, date) else str(value)))
        if kind.kind == "date":
            day = value.date() if isinstance(value, datetime) else value
            return day.isoformat() if isinstance(day, date) else date.fromisoformat(str(day)).isoformat()
        if kind.kind == "decimal":
            return str(_finite(Decimal(str(value))))
        if kind.kind in ("float", "double") and isinstance(value, int | float):
            _finite(float(value))
    except (ValueError, OverflowError, InvalidOperation, InputError):
        raise DeclarationError(f"is {value!r}, which is no {kind}", key=key) from None
    fits = {"string": str, "bool": bool, "binary": str}.get(kind.kind, (int, float))
    wrong_bool = isinstance(value, bool) and kind.kind != "bool"
    fraction = kind.is_integer and isinstance(value, float)
    if not isinstance(value, fits) or wrong_bool or fraction:
        hint = "; quote it" if kind.kind == "string" else ""
        raise DeclarationError(f"is {value!r}, which is no {kind}{hint}", key=key)
    return value


def _finite(number: Number) -> Number:
    if not math.isfinite(number):
        raise ValueError(number)
    return number


def _check_references(attributes: DatasetAttributes, schema: Schema) -> None:
    time = _known(schema, attributes.time, "time")
    if time.type.kind != "timestamp" or time.nullable:
        raise DeclarationError(f"column {time.name!r} must be a timestamp that is not nullable", key="time")
    for name in attributes.partition_by:
        column = _known(schema, name, "partition_by")
        if column.nullable or column.type.kind not in _KEY_KINDS or name == attributes.time:
            kinds = ", ".join(_KEY_KINDS)
            raise DeclarationError(f"column {name!r} must be one of {kinds}, not nullable, and not the time", key="partition_by")
    for name in attributes.segments.sort_by:
        _known(schema, name, "segments.sort_by")
    dedupe = attributes.dedupe
    keys = {attributes.time, *attributes.partition_by, *(dedupe.keys if dedupe else ()), *((dedupe.by,) if dedupe else ())}
    for column in schema:
        if column.default is not None and column.name in keys:
            key = f"columns.{column.name}.{'default' if column.default.expression is None else 'expression'}"
            raise DeclarationError(
                "is of a column that rows are placed or told apart by, which has to be in each record; leave it out", key=key
            )


def _known(schema: Schema, name: str, key: str) -> Column:
    column = schema.find(name)
    if column is None:
        raise DeclarationError(f"{name!r} is not a declared column; the columns are {', '.join(schema.names)}", key=key)
    return column


def _dedupe(attributes: DatasetAttributes, schema: Schema) -> Dedupe | None:
    declared = attributes.dedupe
    if declared is None:
        return None
    for name in declared.keys:
        if _known(schema, name, "dedupe.keys").type.is_nested:
            raise DeclarationError(f"{name!r} is a list or struct and can't be a key", key="dedupe.keys")
    if declared.by is not None:
        _known(schema, declared.by, "dedupe.by")
    missing = [name for name in (attributes.time, *attributes.partition_by) if name not in declared.keys]
    if missing:
        raise DeclarationError(
            f"must contain the time and partition_by columns, else equal rows would be kept apart; add {', '.join(missing)}",
            key="dedupe.keys",
        )
    return Dedupe(keys=tuple(declared.keys), keep=declared.keep, by=declared.by)


def _segments(attributes: DatasetAttributes) -> SegmentPolicy:
    declared = attributes.segments
    return SegmentPolicy(format=declared.format, target_bytes=declared.target_bytes, sort_by=tuple(declared.sort_by))


def _sources(attributes: DatasetAttributes, schema: Schema) -> tuple[Source, ...]:
    sources: list[Source] = []
    fields = [
        field_path(name, column.field, f"columns.{name}.from")
        for name, column in (attributes.columns or {}).items()
        if isinstance(column, ColumnAttributes) and column.field is not None
    ]
    for i, declared in enumerate(attributes.sources):
        named = {kind: value for kind, value in declared.kinds().items() if value is not None}
        if len(named) != 1:
            raise DeclarationError(
                "must name one kind of source; write `- files: {prefix: …}`, `- kafka: {topic: …}` or `- http: {}`",
                key=f"sources.{i}",
            )
        ((kind, given),) = named.items()
        key = f"sources.{i}.{kind}"
        sources.append(with_fields(_source(given, schema, sources, key), fields, key))
    return tuple(sources)


def _source(given: AnySourceAttributes, schema: Schema, others: Sequence[Source], key: str) -> Source:
    """`others`: the sources declared before it, which may not read the same."""
    match given:
        case FilesAttributes():
            files = _file_source(given, schema, key)
            if any(files.address == other.address for other in others if isinstance(other, FileSource)):
                raise DeclarationError("watches the same files as another source of this dataset", key=f"{key}.prefix")
            return files
        case KafkaAttributes():
            topics = _kafka_source(given, schema, key)
            _refuse_shared_topics(topics, others, key)
            return topics
        case HttpAttributes():
            if any(isinstance(other, HttpSource) for other in others):
                raise DeclarationError("is there twice; one is enough for all who send", key=key)
            return _http_source(given, schema, key)
        case _:
            assert_never(given)


def _refuse_shared_topics(source: KafkaSource, others: Iterable[Source], key: str) -> None:
    for other in others:
        if isinstance(other, KafkaSource) and (shared := set(source.topics) & set(other.topics)):
            raise DeclarationError(f"reads {min(shared)!r}, which another source of this dataset reads", key=f"{key}.topics")


def _kafka_source(kafka: KafkaAttributes, schema: Schema, key: str) -> KafkaSource:
    if (kafka.topic is None) == (not kafka.topics):
        raise DeclarationError("needs either `topic:` or `topics:`", key=f"{key}.topic")
    topics = (kafka.topic,) if kafka.topic is not None else tuple(kafka.topics)
    for name in (*topics, *([kafka.dead_letter_topic] if kafka.dead_letter_topic is not None else [])):
        if not _TOPIC.fullmatch(name) or name in (".", ".."):
            raise DeclarationError(f"{name[:60]!r} is no topic name; letters, digits, '.', '_' and '-', at most 249", key=key)
    if len(set(topics)) < len(topics):
        raise DeclarationError("names a topic twice", key=f"{key}.topics")
    if kafka.dead_letter_topic in topics:
        raise DeclarationError("is a topic that is read; choose another", key=f"{key}.dead_letter_topic")
    if kafka.shards != "auto" and not 1 <= kafka.shards <= 64:
        raise DeclarationError(f"is {kafka.shards}; write auto or a number from 1 to 64", key=f"{key}.shards")
    check_zone(kafka.timezone, key)
    return KafkaSource(
        topics=topics,
        format=kafka.format,
        bootstrap_servers=kafka.bootstrap_servers,
        start=kafka.start,
        shards=kafka.shards,
        isolation=kafka.isolation,
        group=kafka.group,
        on_lost_offsets=kafka.on_lost_offsets,
        idle=kafka.idle,
        flush=FlushPolicy(**dict(kafka.flush)),
        dead_letter_topic=kafka.dead_letter_topic,
        form=record_form(kafka, schema, key),
        timezone=kafka.timezone,
        max_record_bytes=kafka.max_record_bytes,
    )


def _http_source(http: HttpAttributes, schema: Schema, key: str) -> HttpSource:
    check_zone(http.timezone, key)
    return HttpSource(
        path=json_path(http, key),
        csv=csv_dialect(http, key),
        form=record_form(http, schema, key),
        timezone=http.timezone,
        max_record_bytes=http.max_record_bytes,
    )


def _check_prefix(prefix: str, key: str) -> None:
    try:
        times = parse_time_path(prefix)
    except DeclarationError as error:
        raise DeclarationError(error.problem, key=key) from None
    scheme, separator, rest = (times.base if times else prefix).partition("://")
    if separator and (scheme not in STORE_SCHEMES or not rest.partition("/")[0] or {"@", "?"} & set(rest)):
        raise DeclarationError("is no prefix; write a folder, s3://bucket/prefix/, gs://bucket/… or az://container/…", key=key)


def _file_source(files: FilesAttributes, schema: Schema, key: str) -> FileSource:
    if ".." in files.prefix.replace("\\", "/").split("/"):
        raise DeclarationError("must not contain '..'; write an absolute folder instead", key=f"{key}.prefix")
    _check_prefix(files.prefix, f"{key}.prefix")
    check_zone(files.timezone, key)
    return FileSource(
        prefix=files.prefix,
        glob=files.glob,
        format="json" if files.path is not None else files.format,
        path=json_path(files, key),
        sheet=files.sheet,
        csv=csv_dialect(files, key),
        form=record_form(files, schema, key),
        path_columns=path_columns(files, key),
        timezone=files.timezone,
        on_change=files.on_change,
        after=files.after,
        max_record_bytes=files.max_record_bytes,
    )
