"""Three questions a person would ask of New York's flights and weather, and how their answers read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from timestore_assets.cli.open_warehouse import timestore
from timestore_assets.cli.output import print_table, stdout
from timestore_assets.cli.rendering.sparkline import sparkline
from timestore_assets.model.aggregate_text import parse_aggregates
from timestore_assets.model.question import Question
from timestore_assets.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

    from timestore_assets.querying.answer import Answer

DELAYS = Question(
    dataset="nyc_flights",
    end=datetime(2014, 1, 1, tzinfo=UTC),
    every="month",
    aggregates=parse_aggregates("avg:dep_delay as delay,count as flights"),
    group_by=("carrier",),
)
DELAYS_COMMAND = (
    "query",
    *("nyc_flights", "--to", "2014-01-01", "--every", "month", "--by", "carrier"),
    *("--agg", "avg:dep_delay as delay,count as flights"),
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
    _ask("How warm was it at each airport on the hottest day, hour by hour? (°F, UTC)", timestore(*TEMPERATURE_COMMAND))
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
    flights: Counter[str] = Counter()
    for row in rows:
        flights[row["carrier"]] += row["flights"]
    largest = [carrier for carrier, _ in flights.most_common(SHOWN_CARRIERS)]
    print_table(
        ["carrier", ">flights", ">best\nmonth", "", ">worst\nmonth", "", "January to December"],
        ([carrier, f"{flights[carrier]:,}", *_extremes(_series(rows, carrier), "%b")] for carrier in largest),
    )


def _temperatures(table: pa.Table) -> None:
    rows = table.to_pylist()
    print_table(
        ["airport", ">lowest", "", ">highest", "", "10:00 to 09:00"],
        ([airport, *_extremes(_series(rows, airport), "%H:%M")] for airport in sorted({row["origin"] for row in rows})),
    )


def _series(rows: Iterable[dict[str, Any]], group: str) -> dict[datetime, float]:
    """The figure of a group by time, in order; an answer's columns are the time, the group, then the figures."""
    found = {}
    for row in rows:
        time, of_group, value, *_ = row.values()
        if of_group == group and value is not None:
            found[time] = value
    return dict(sorted(found.items()))


def _extremes(series: dict[datetime, float], form: str) -> list[str]:
    """The smallest and the largest value, each with its time, and the way between."""
    low, high = min(series, key=series.__getitem__), max(series, key=series.__getitem__)
    line = sparkline(list(series.values()))
    return [_figure(series[low]), f"{low:{form}}", _figure(series[high]), f"{high:{form}}", line]


def _worst_days(table: pa.Table) -> None:
    print_table(
        ["day", ">flights", ">cancelled", ">mean\ndelay", ">rain", ">gusts"],
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


def _figure(value: float | None, *, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"
