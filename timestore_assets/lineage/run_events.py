"""Runs as OpenLineage's events: job, datasets in and out, and facets of schema, columns, statistics and quality.

The client's own classes make them, and so say which version of each facet is meant.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from timestore_assets import __version__
from timestore_assets.extras import extra
from timestore_assets.lineage.dataset_names import LineageName, source_names, table_name, undeclared_names
from timestore_assets.lineage.runs import Change, Run, RunNews
from timestore_assets.model.column_lineage import ColumnOrigin, column_lineage
from timestore_assets.model.dataset import Dataset, Source
from timestore_assets.model.errors import InputError
from timestore_assets.model.schema import Schema
from timestore_assets.model.window import Window, format_time

with extra("openlineage"):
    from openlineage.client import event_v2 as events
    from openlineage.client.facet_v2 import (
        BaseFacet,
        column_lineage_dataset,
        data_quality_assertions_dataset,
        dataset_version_dataset,
        documentation_dataset,
        error_message_run,
        input_statistics_input_dataset,
        job_type_job,
        lifecycle_state_change_dataset,
        nominal_time_run,
        output_statistics_output_dataset,
        ownership_dataset,
        parent_run,
        processing_engine_run,
        schema_dataset,
        storage_dataset,
        tags_run,
    )

if TYPE_CHECKING:
    from timestore_assets.settings import Settings

PRODUCER = f"urn:timestore-assets:{__version__}"
_DAGSTER_RUN = re.compile(r"dagster run ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_DAGSTER = "dagster"
F = TypeVar("F", bound=BaseFacet)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A dataset as an event is to show it. `declared`: None where its declaration is elsewhere, or gone."""

    name: str
    declared: Dataset | None
    schema: Schema | None
    window: Window | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEvents:
    """Makes events. `warehouse`: its id, from which the ids of runs are made, so that those of two never meet."""

    settings: Settings
    warehouse: str

    def event(self, news: RunNews, table: Table) -> events.RunEvent:
        """The event of a piece of news; the same news gives the same one."""
        run = news.run
        return events.RunEvent(
            eventType=events.RunState(news.state),
            eventTime=format_time(news.at),
            run=events.Run(runId=self.run_id(run), facets=dict(self._run_facets(news, table))),
            job=self._job(run),
            inputs=self._inputs(run, table),
            outputs=[self._output(run, table)],
            producer=PRODUCER,
        )

    def run_id(self, run: Run) -> str:
        """Always the same for the same run."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"timestore:{self.warehouse}/{run.key}"))

    # --- job and run

    def _job(self, run: Run) -> events.Job:
        streams = run.source_kind == "kafka"
        kind = "STREAMING" if streams else "SERVICE" if run.source_kind == "http" else "BATCH"
        facet = _made(job_type_job.JobTypeJobFacet, processingType=kind, integration="TIMESTORE", jobType=run.kind.upper())
        name = f"{run.dataset}.{run.kind}"
        return events.Job(namespace=self.settings.openlineage_namespace, name=name, facets={"jobType": facet})

    def _run_facets(self, news: RunNews, table: Table) -> Iterator[tuple[str, Any]]:
        run = news.run
        yield (
            "processing_engine",
            _made(processing_engine_run.ProcessingEngineRunFacet, version=__version__, name="timestore"),
        )
        if parent := self._parent(run):
            yield "parent", parent
        if nominal := _nominal(run, table):
            yield "nominalTime", nominal
        tags = {
            "actor": run.actor,
            "change": run.action,
            "first_partition": run.first_partition,
            "last_partition": run.last_partition,
        }
        fields = [tags_run.TagsRunFacetFields(key=key, value=value, source="timestore") for key, value in tags.items() if value]
        yield "tags", _made(tags_run.TagsRunFacet, tags=fields)
        if news.state in ("FAIL", "ABORT"):
            message = news.error or "its process ended without ending it"
            yield "errorMessage", _made(error_message_run.ErrorMessageRunFacet, message=message, programmingLanguage="PYTHON")

    def _parent(self, run: Run) -> parent_run.ParentRunFacet | None:
        """The run of Dagster that it is part of."""
        found = _DAGSTER_RUN.fullmatch(run.actor)
        if found is None or run.kind == "change":
            return None
        # as `orchestration.dagster_names` calls them; builds run in the job that Dagster makes for assets
        verb = {"landing": "stream" if run.source_kind == "kafka" else "land"}.get(run.kind)
        name = f"{verb}_{run.dataset}" if verb else "__ASSET_JOB"
        job = parent_run.Job(namespace=_DAGSTER, name=name)
        return _made(parent_run.ParentRunFacet, run=parent_run.Run(runId=found[1]), job=job)

    # --- datasets

    def _output(self, run: Run, table: Table) -> events.OutputDataset:
        name = table_name(self.settings, run.dataset)
        written = _made(
            output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
            rowCount=run.rows,
            size=run.bytes,
            fileCount=run.segments,
        )
        facets = dict(self._table_facets(table))
        if run.manifest_version is not None:
            version = str(run.manifest_version)
            facets["version"] = _made(dataset_version_dataset.DatasetVersionDatasetFacet, datasetVersion=version)
        if table.schema is not None and (lineage := self._columns(run, table)):
            facets["columnLineage"] = lineage
        if run.change is not None:
            facets["lifecycleStateChange"] = self._change(run, run.change)
        # what a change does to rows is told by its dataset's version
        counted: dict[str, Any] = {} if run.kind == "change" else {"outputStatistics": written}
        return events.OutputDataset(namespace=name.namespace, name=name.name, facets=facets, outputFacets=counted)

    def _change(self, run: Run, change: Change) -> BaseFacet:
        kinds = lifecycle_state_change_dataset
        former = table_name(self.settings, run.former_name) if run.former_name else None
        return _made(
            kinds.LifecycleStateChangeDatasetFacet,
            lifecycleStateChange=kinds.LifecycleStateChange(change),
            previousIdentifier=former and kinds.PreviousIdentifier(name=former.name, namespace=former.namespace),
        )

    def _inputs(self, run: Run, table: Table) -> list[events.InputDataset]:
        """A build reads what landed in the dataset before, a change nothing, others their source."""
        if run.kind == "change":
            return []
        if run.kind == "build":
            read = run.rows + run.superseded + run.retracted
            inputs: Sequence[LineageName] = [table_name(self.settings, run.dataset)]
            facets = dict(self._table_facets(table))
        else:
            read, facets = run.counters.get("read", 0), dict(_sent(run, table))
            inputs = self._read(run, table)
        statistics = _made(input_statistics_input_dataset.InputStatisticsInputDatasetFacet, rowCount=read)
        quality = _made(data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet, assertions=list(_assertions(run)))
        given = {"inputStatistics": statistics, **({"dataQualityAssertions": quality} if quality.assertions else {})}
        # figures are of all topics together, so that only a single input can have them
        shown = given if len(inputs) == 1 else {}
        return [
            events.InputDataset(namespace=name.namespace, name=name.name, facets=facets, inputFacets=shown) for name in inputs
        ]

    def _read(self, run: Run, table: Table) -> Sequence[LineageName]:
        if run.kind == "replay" and not run.source:
            return []
        source = _source(run, table)
        if source is not None:
            return source_names(self.settings, run.dataset, source)
        return undeclared_names(self.settings, run.dataset, run.source_kind, run.source)

    def _table_facets(self, table: Table) -> Iterator[tuple[str, Any]]:
        if table.schema is not None:
            yield "schema", _schema(table.schema)
        yield "storage", _made(storage_dataset.StorageDatasetFacet, storageLayer="timestore", fileFormat="parquet")
        if table.declared is not None and table.declared.description:
            description = table.declared.description
            yield "documentation", _made(documentation_dataset.DocumentationDatasetFacet, description=description)
        if table.declared is not None and table.declared.owners:
            owners = [ownership_dataset.Owner(name=owner) for owner in table.declared.owners]
            yield "ownership", _made(ownership_dataset.OwnershipDatasetFacet, owners=owners)

    # --- columns

    def _columns(self, run: Run, table: Table) -> column_lineage_dataset.ColumnLineageDatasetFacet | None:
        """Of a landing the fields of its source, of a build the columns that it reads."""
        if table.schema is None or run.kind == "change" or (run.kind != "build" and table.declared is None):
            return None
        own = table_name(self.settings, run.dataset)
        if run.kind == "build" and table.declared is None:
            fields = {name: [_input(own, name)] for name in table.schema.names}
        elif table.declared is not None:
            origins = column_lineage(table.declared, table.schema)
            fields = {name: list(self._upstream(run, table, name, origin)) for name, origin in origins.items()}
        made = {name: column_lineage_dataset.Fields(inputFields=inputs) for name, inputs in fields.items() if inputs}
        return _made(column_lineage_dataset.ColumnLineageDatasetFacet, fields=made) if made else None

    def _upstream(self, run: Run, table: Table, column: str, origin: ColumnOrigin) -> Iterator[column_lineage_dataset.InputField]:
        if run.kind == "build":
            own = table_name(self.settings, run.dataset)
            yield _input(own, column)
            for name in origin.columns:
                yield _input(own, name, expression=origin.expression)
            return
        source = _source(run, table)
        for sent in origin.fields:
            if sent.source == source:
                for read in source_names(self.settings, run.dataset, sent.source):
                    yield _input(read, sent.field)


def _source(run: Run, table: Table) -> Source | None:
    sources = table.declared.sources if table.declared is not None else ()
    return next((one for one in sources if one.address == run.source), None)


def _input(dataset: LineageName, field: str, *, expression: str | None = None) -> column_lineage_dataset.InputField:
    subtype = "IDENTITY" if expression is None else "TRANSFORMATION"
    how = column_lineage_dataset.Transformation(type="DIRECT", subtype=subtype, description=expression, masking=False)
    return column_lineage_dataset.InputField(namespace=dataset.namespace, name=dataset.name, field=field, transformations=[how])


def _schema(schema: Schema) -> schema_dataset.SchemaDatasetFacet:
    fields = [
        schema_dataset.SchemaDatasetFacetFields(
            name=column.name,
            type=str(column.type),
            description=" ".join(filter(None, (column.description, column.unit and f"[{column.unit}]"))) or None,
            ordinal_position=place,
        )
        for place, column in enumerate(schema, 1)
    ]
    return _made(schema_dataset.SchemaDatasetFacet, fields=fields)


def _sent(run: Run, table: Table) -> Iterator[tuple[str, Any]]:
    """The fields that a landing reads of its source, without types: receivers draw no line from a field that is not named."""
    source = _source(run, table)
    if source is None or table.declared is None or table.schema is None:
        return
    origins = column_lineage(table.declared, table.schema).values()
    names = dict.fromkeys(sent.field for origin in origins for sent in origin.fields if sent.source == source)
    yield (
        "schema",
        _made(schema_dataset.SchemaDatasetFacet, fields=[schema_dataset.SchemaDatasetFacetFields(name=name) for name in names]),
    )


def _nominal(run: Run, table: Table) -> nominal_time_run.NominalTimeRunFacet | None:
    """The window that a build is of."""
    if run.kind != "build" or table.window in (None, Window.ALL):
        return None
    try:
        partition = table.window.parse_key(run.first_partition)
    except InputError:
        return None
    start, end = format_time(partition.start), format_time(partition.end)
    return _made(nominal_time_run.NominalTimeRunFacet, nominalStartTime=start, nominalEndTime=end)


def _assertions(run: Run) -> Iterator[data_quality_assertions_dataset.Assertion]:
    """What our checks say of the records that were read: accounted for, none refused, none too late."""
    if run.kind != "landing":
        return
    made = data_quality_assertions_dataset.Assertion
    counters = run.counters
    read = counters.get("read", 0)
    accounted = sum(counters.get(name, 0) for name in ("landed", "duplicates", "late_dropped", "held", "dead_letters"))
    yield made(assertion="accounting", success=read == accounted, severity="error", expected=str(read), actual=str(accounted))
    late = counters.get("late_dropped", 0) + counters.get("held", 0)
    for name, number in (("dead_letters", counters.get("dead_letters", 0)), ("late_records", late)):
        yield made(assertion=name, success=number == 0, severity="warn", expected="0", actual=str(number))
    for code, number in sorted(run.reasons.items()):
        yield made(assertion=code, success=False, severity="warn", expected="0", actual=str(number))


def _made(kind: type[F], **values: Any) -> F:
    """A facet that names us as its producer; the client's way to say so is one for the whole process."""
    return kind(producer=PRODUCER, **values)
