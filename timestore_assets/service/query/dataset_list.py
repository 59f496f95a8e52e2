"""What there is to ask: `GET /datasets` and `GET /datasets/{name}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from pydantic import Field

from timestore_assets.catalog.records import DatasetRecord, LiveRows, SourceRecord
from timestore_assets.model.alert import AlertKind
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.schema import Schema
from timestore_assets.model.window import format_time
from timestore_assets.service.access.caller import Caller
from timestore_assets.service.answers.answer_facts import CamelCaseModel
from timestore_assets.service.etags import READ, tagged
from timestore_assets.service.problems import responses
from timestore_assets.service.state import Service, UsesCaller, UsesService

router = APIRouter(tags=["query"])
NOTHING = LiveRows(rows=0, newest=None)


class DatasetColumn(CamelCaseModel):
    name: str = Field(examples=["temp"])
    type: str = Field(description="As in a declaration.", examples=["double"])
    nullable: bool = Field(examples=[True])
    unit: str = Field("", examples=["degC"])
    description: str = ""


class DeclaredSource(CamelCaseModel):
    """Where records come from, as it is declared."""

    kind: str = Field(description="`files`, `kafka` or `http`.", examples=["files"])
    address: str = Field(description="Watched prefix and pattern, topics, or `/ingest`.", examples=["inbox/weather/**/*"])


class DatasetFacts(CamelCaseModel):
    """A dataset as its readers see it. What is in it is null for callers that may only write to it."""

    name: str = Field(examples=["weather"])
    description: str = ""
    time: str = Field(description="The column that holds a row's time.", examples=["ts"])
    window: str = Field(description="Length of a partition.", examples=["day"])
    partition_by: list[str] = Field([], description="Segments of a partition hold one combination of these each.")
    keys: list[str] = Field([], description="Columns of which each combination is there once; none are declared when empty.")
    columns: list[DatasetColumn]
    sources: list[DeclaredSource] = Field([], description="Empty for callers that may only write to it.")
    rows: int | None = Field(description="Rows that landed, before unbuilt ones are deduplicated.", examples=[1000])
    newest: str | None = Field(description="Newest time of a row.", examples=["2024-01-01T00:59:00Z"])
    manifest_version: int | None = Field(examples=[7])
    readable: bool = Field(description="Whether the caller may query it.", examples=[True])
    writable: bool = Field(description="Whether the caller may send records to it.", examples=[False])
    retired: bool = Field(False, description="Nothing lands in it any more; what it has can be read.")
    dead_letters: int | None = Field(description="Records of its sources that were refused and not replayed.", examples=[0])
    lag: int | None = Field(
        description="Records of its topics not read yet, some seconds old; null without topics and when no broker answers.",
        examples=[None],
    )
    paused: bool | None = Field(description="Whether landing from one of its sources is paused.", examples=[False])
    firing: list[AlertKind] = Field([], description="Its alerts that fire, as of the last look at them.")


class DatasetList(CamelCaseModel):
    datasets: list[DatasetFacts]


@router.get(
    "/datasets",
    summary="Datasets you may use",
    response_model=DatasetList,
    responses={**READ, **responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE)},
)
def listed(request: Request, caller: UsesCaller, service: UsesService) -> Response:
    """By name, with their columns and whether something is wrong with them: all that a list shows, in one answer."""
    records = {record.name: record for record in service.warehouse.catalog.datasets.all()}
    return tagged(request, DatasetList(datasets=_facts(service, caller, service.visible(caller, "see"), records)), version=0)


@router.get(
    "/datasets/{name}",
    summary="One dataset",
    responses=responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
)
def one(name: str, caller: UsesCaller, service: UsesService) -> DatasetFacts:
    """Its columns with types and units, and how much is in it."""
    dataset = service.dataset(caller, name, "see")
    record = service.warehouse.catalog.datasets.find(name)
    (facts,) = _facts(service, caller, {name: dataset}, {name: record} if record else {})
    return facts


@dataclass(frozen=True, kw_only=True, slots=True)
class _Standing:
    """What a dataset that may be read holds, and how it stands."""

    record: DatasetRecord | None
    held: LiveRows
    sources: Sequence[SourceRecord]
    firing: frozenset[str]
    """Keys of alerts."""


def _facts(
    service: Service, caller: Caller, datasets: Mapping[str, Dataset], records: Mapping[str, DatasetRecord]
) -> list[DatasetFacts]:
    """The catalog is asked a few times, however many datasets there are."""
    catalog = service.warehouse.catalog
    readable = {name: dataset for name, dataset in datasets.items() if caller.may_read(dataset)}
    ids = [records[name].id for name in readable if name in records]
    held, sources, firing = catalog.partitions.held(ids), catalog.sources.of_each(ids), catalog.alerts.firing(ids)
    lags = service.lags.at_hand() if any(dataset.kafka_sources for dataset in readable.values()) else {}
    found = []
    for name, dataset in datasets.items():
        record = records.get(name)
        key = record.id if record else 0
        standing = _Standing(
            record=record,
            held=held.get(key, NOTHING),
            sources=sources.get(key, ()),
            firing=firing.get(key, frozenset()),
        )
        facts = _declared(service, caller, dataset)
        found.append(_with_standing(facts, dataset, standing, lags) if name in readable else facts)
    return found


def _declared(service: Service, caller: Caller, dataset: Dataset) -> DatasetFacts:
    """What anybody is told who may know of the dataset."""
    return DatasetFacts(
        name=dataset.name,
        description=dataset.description,
        time=dataset.time,
        window=str(dataset.window),
        partition_by=list(dataset.partition_by),
        keys=list(dataset.dedupe.keys) if dataset.dedupe else [],
        columns=_columns(dataset.schema),
        rows=None,
        newest=None,
        manifest_version=None,
        readable=caller.may_read(dataset),
        writable=caller.may_write(dataset),
        retired=service.warehouse.is_retired(dataset.name),
        dead_letters=None,
        lag=None,
        paused=None,
    )


def _with_standing(
    facts: DatasetFacts, dataset: Dataset, standing: _Standing, lags: Mapping[tuple[str, str], int | None]
) -> DatasetFacts:
    record = standing.record
    known = [lag for (name, _), lag in lags.items() if name == dataset.name and lag is not None]
    quiet = frozenset() if facts.retired else standing.firing
    return facts.model_copy(
        update={
            "columns": _columns(record.schema) if record else facts.columns,
            "sources": [DeclaredSource(kind=source.kind, address=source.address) for source in dataset.sources],
            "rows": standing.held.rows,
            "newest": format_time(standing.held.newest) if standing.held.newest else None,
            "manifest_version": record.manifest_version if record else 0,
            "dead_letters": sum(source.counters.dead_letters for source in standing.sources),
            "lag": sum(known) if known else None,
            "paused": any(source.paused for source in standing.sources),
            "firing": [alert.on for alert in dataset.alerts if alert.key in quiet],
        }
    )


def _columns(schema: Schema) -> list[DatasetColumn]:
    return [
        DatasetColumn(
            name=column.name, type=str(column.type), nullable=column.nullable, unit=column.unit, description=column.description
        )
        for column in schema
    ]
