"""The warehouse in one's own process, for scripts and notebooks: `timestore_assets.open()`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from timestore_assets.client.asking import QueryArguments, SqlAsOf, question, versions
from timestore_assets.client.result import Result
from timestore_assets.model.errors import InputError
from timestore_assets.model.question import Aggregate, Question, parse_fill
from timestore_assets.model.window import format_time, parse_time
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

    from timestore_assets.querying.answer import Answer


def open(home: str | Path | None = None) -> Timestore:
    """Open the warehouse of the settings (`TIMESTORE_*`), or the one in another home.

    Raises:
        InputError: a setting or declaration is wrong. UnavailableError: the home or the database can't be used.
    """
    settings = Settings.load()
    if home is not None:
        settings = settings.model_copy(update={"home": Path(home)})
    return Timestore(Warehouse.open(settings))


class Timestore:
    """An open warehouse that answers as a `TimestoreClient` does. Close it, or use it as a context manager.

    `warehouse`: all that it can do.
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse

    def query(self, asked: str, **options: Unpack[QueryArguments]) -> Result:
        """The answer to a SELECT, or rows of a dataset by its name.

        `asked`: `"SELECT …"` (or `"WITH …"`), which takes no keyword arguments but `as_of`; else a dataset, with those of
        `TimestoreClient.query`: `start`, `end`, `columns`, `filters`, `every`, `timezone`, `aggregates`, `group_by`, `fill`,
        `limit`, `descending`, `as_of`.

        Raises:
            InputError: there is no such dataset or column, or it can't be asked so. RefusedError: SQL that does not only read.
        """
        if not _is_sql(asked):
            from timestore_assets.querying.answer import completeness

            asked_for = self._question(asked, **options)
            _, record = self.warehouse.resolve(asked)
            # before the answer pins its version, which then holds at least as much
            through = completeness(self.warehouse.catalog, record.id).complete_through
            return Result(_LocalAnswer(self.warehouse.ask(asked_for), through))
        if wrong := [name for name in options if name != "as_of"]:
            raise InputError(f"a SELECT takes no keyword argument but as_of, here is {wrong[0]!r}; write it into the SQL")
        return self.sql(asked, as_of=options.get("as_of"))

    def sql(self, text: str, parameters: Mapping[str, Any] | None = None, *, as_of: SqlAsOf = None) -> Result:
        """The answer to one SELECT; `$name` in it stands for a parameter. `as_of`: as `TimestoreClient`; errors as `query`."""
        return Result(_LocalAnswer(self.warehouse.sql(text, parameters=_naive(parameters or {}), as_of=versions(as_of))))

    def datasets(self) -> list[str]:
        """Names of what is declared."""
        return sorted(self.warehouse.datasets)

    def close(self) -> None:
        """Answers that were not read to their end break off."""
        self.warehouse.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Timestore {self.warehouse.settings.home_folder}: {', '.join(self.datasets()) or 'no datasets'}>"

    def _question(self, dataset: str, **options: Unpack[QueryArguments]) -> Question:
        from timestore_assets.querying.planning.time_buckets import BucketWidth
        from timestore_assets.querying.planning.typed_filters import TypedFilter, where_of

        body = question(**options)
        spans, downsample = body.get("timeRange", {}), body.get("downsample", {})
        filters = [TypedFilter(**one) for one in body.get("filters", ())]
        as_of = None if (meant := body.get("asOf")) is None else self.warehouse.version_of(dataset, meant)
        _, record = self.warehouse.resolve(dataset) if as_of is None else self.warehouse.in_force(dataset, as_of)
        every = BucketWidth(unit=downsample["intervalUnit"], size=downsample["intervalSize"]).every if downsample else None
        return Question(
            dataset=dataset,
            start=_time(spans.get("start")),
            end=_time(spans.get("end")),
            columns=None if body.get("columns") is None else tuple(body["columns"]),
            where=where_of(filters, record.schema, dataset=dataset),
            every=every,
            timezone=downsample.get("timezone"),
            aggregates=tuple(Aggregate(**one) for one in downsample.get("aggregations", ())),
            group_by=tuple(downsample.get("groupBy", ())),
            fill=parse_fill(fill) if (fill := downsample.get("fill", "none")) != "none" else None,
            limit=body.get("limit"),
            descending=body.get("descending", False),
            as_of=as_of,
        )


class _LocalAnswer:
    """See `AnswerSource`."""

    rows = None

    def __init__(self, answer: Answer, complete_through: datetime | None = None) -> None:
        self._answer, self._complete_through = answer, complete_through

    @property
    def schema(self) -> pa.Schema:
        return self._answer.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        return self._answer.batches()

    def fact(self, name: str) -> Any:
        match name:
            case "manifestVersion":
                return self._answer.manifest_version
            case "manifestVersions":
                return dict(self._answer.manifest_versions)
            case "warnings":
                return list(self._answer.warnings)
            case "completeness" if self._complete_through is not None:
                return {"completeThrough": format_time(self._complete_through)}
        return None

    def close(self) -> None:
        self._answer.close()


def _is_sql(text: str) -> bool:
    """Whether it is more than the name of a dataset, which is one word."""
    return len(text.split()) > 1


def _time(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)


def _naive(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Times as SQL compares them: naive and in UTC."""
    return {
        name: value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value
        for name, value in parameters.items()
    }
