"""Three questions a person would ask of New York's flights and weather, and how their answers read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from timestore_assets.cli.invocation import timestore
from timestore_assets.cli.output import print_table, stdout
from timestore_assets.querying.question import Question, parse_aggregates
from timestore_assets.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

    from timestore_assets.querying.answer import Answer

DELAYS = Question(
    dataset="nyc_flights",
    every="month",
    aggregates=parse_aggregates("avg:dep_delay as delay,count as flights"),
    group_by=("carrier",),
)
DELAYS_COMMAND = (
    "query",
    "nyc_flights",
    "--every",
    "month",
    "--by",
    "carrier",
    "--agg",
    "avg:dep_delay as delay,count as flights",
)
TEMPERATURE = Question(
    dataset="nyc_weather",
    start=datetime(2013, 7, 18, 10, tzinfo=UTC),
    end=datetime(2013, 7, 19, 10, tzinfo=UTC),
    every=timedelta(hours=1),
    aggregates=parse_aggregates("avg:temp as temp"),
    group_by=("origin",),
)
TEMPERATURE_COMMAND = (
    *("query", "nyc_weather", "--from", "2013-07-18T10:00", "--to", "2013-07-19T10:00"),
    *("--every", "1h", "--by", "origin", "--agg", "avg:temp as temp"),
)
WORST_DAYS = """
SELECT day, flights, cancelled, delay, rain, gust
FROM (
  SELECT make_date(year, month, day) AS day, count(*) AS flights, count(*) FILTER (WHERE dep_time IS NULL) AS cancelled,
         avg(dep_delay) AS delay
  FROM nyc_flights GROUP BY ALL
) JOIN (
  SELECT make_date(year, month, day) AS day, sum(precip) / 3 AS rain, max(wind_gust) AS gust
  FROM nyc_weather GROUP BY ALL
) USING (day)
ORDER BY delay DESC LIMIT 8
""".strip()
SHOWN_CARRIERS = 8


def ask_all(warehouse: Warehouse) -> None:
    """Ask the three questions and print each with the command that asks the same."""
    _ask("How late do flights leave, by carrier and month? (minutes)", timestore(*DELAYS_COMMAND))
    _print(warehouse.ask(DELAYS), _delays)
    _ask("How warm was it at each airport on the hottest day, hour by hour? (°F; hours in UTC)", timestore(*TEMPERATURE_COMMAND))
    _print(warehouse.ask(TEMPERATURE), _temperatures)
    _ask("Which were the worst days, and was it the weather? (minutes, inches, mph)", timestore("sql", WORST_DAYS))
    _print(warehouse.sql(WORST_DAYS), _worst_days)


def _ask(question: str, command: str) -> None:
    console = stdout()
    console.print(f"\n[bold]{question}[/bold]")
    console.print(f"$ {command}", style="dim", markup=False, soft_wrap=True)


def _print(answer: Answer, show: Callable[[pa.Table], None]) -> None:
    with answer:
        show(answer.table())


def _delays(table: pa.Table) -> None:
    rows = table.to_pylist()
    flights: dict[str, int] = {}
    for row in rows:
        flights[row["carrier"]] = flights.get(row["carrier"], 0) + row["flights"]
    largest = sorted(flights, key=lambda carrier: -flights[carrier])[:SHOWN_CARRIERS]
    months, cells = _pivot(rows, across="carrier", value="delay")
    headings = [f">{month:%b %y}" for month in months]
    print_table(
        ["carrier", ">flights", *headings],
        ([carrier, f"{flights[carrier]:,}", *(_figure(cells.get((month, carrier))) for month in months)] for carrier in largest),
    )


def _temperatures(table: pa.Table) -> None:
    rows = table.to_pylist()
    hours, cells = _pivot(rows, across="origin", value="temp")
    airports = sorted({row["origin"] for row in rows})
    print_table(
        ["", *(f">{hour:%H}" for hour in hours)],
        ([airport, *(_figure(cells.get((hour, airport)), digits=0) for hour in hours)] for airport in airports),
    )


def _worst_days(table: pa.Table) -> None:
    print_table(
        ["day", ">flights", ">cancelled", ">mean delay", ">rain", ">gusts"],
        (
            [
                f"{row['day']:%a %d %b}",
                f"{row['flights']:,}",
                f"{row['cancelled']:,}",
                _figure(row["delay"]),
                _figure(row["rain"], digits=2),
                _figure(row["gust"], digits=0),
            ]
            for row in table.to_pylist()
        ),
    )


def _pivot(
    rows: Iterable[dict[str, Any]], *, across: str, value: str
) -> tuple[list[datetime], dict[tuple[datetime, str], float]]:
    """The times in order, and the values by time and group. The bucket is the first column of the answer."""
    cells = {}
    for row in rows:
        time = next(iter(row.values()))
        cells[(time, row[across])] = row[value]
    return sorted({time for time, _ in cells}), cells


def _figure(value: float | None, *, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"
