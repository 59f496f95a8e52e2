"""The demo's picture: a year of delays above a year of temperatures."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timestore_assets.model.aggregate_text import parse_aggregates
from timestore_assets.model.question import Question
from timestore_assets.warehouse import Warehouse

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, QUIET, RED, BLUE, ORANGE = "#22303c", "#8a98a5", "#c8102e", "#1f77b4", "#e07b00"
DAILY_DELAY = Question(
    dataset="nyc_flights",
    every=timedelta(days=1),
    aggregates=parse_aggregates("avg:dep_delay as delay,percentile(90):dep_delay as p90"),
)
DAILY_TEMPERATURE = Question(
    dataset="nyc_weather",
    every=timedelta(days=1),
    aggregates=parse_aggregates("min:temp as low,avg:temp as mean,max:temp as high"),
)
NAMED_DAYS, LABEL_DAYS = 6, 14


def draw(warehouse: Warehouse, path: Path) -> None:
    """Draw both years into a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    style: dict[Any, Any] = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": QUIET}
    style |= dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK)
    style |= {"xtick.color": QUIET, "ytick.color": QUIET}
    with plt.rc_context(style):
        figure, (upper, lower) = plt.subplots(2, 1, figsize=(11, 6.5), sharex=True, height_ratios=[3, 2], layout="constrained")
        figure.suptitle("New York airports, 2013: late departures and the weather", x=0.01, ha="left", fontsize=14, weight="bold")
        _draw_delays(upper, _columns(warehouse, DAILY_DELAY))
        _draw_temperatures(lower, _columns(warehouse, DAILY_TEMPERATURE))
        _date_axis(lower)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)
        plt.close(figure)


def _columns(warehouse: Warehouse, question: Question) -> dict[str, list[Any]]:
    """The answer's columns by name; the bucket's is called `time`."""
    with warehouse.ask(question) as answer:
        table = answer.table()
    return {"time" if i == 0 else name: table.column(i).to_pylist() for i, name in enumerate(table.column_names)}


def _draw_delays(axes: Axes, days: dict[str, list[Any]]) -> None:
    axes.bar(days["time"], days["delay"], width=1.0, color=RED, alpha=0.85, label="mean")
    axes.plot(days["time"], days["p90"], color=QUIET, linewidth=0.9, label="one flight in ten is later")
    axes.set_ylabel("departure delay, minutes")
    axes.legend(frameon=False, loc="upper right", ncols=2)
    axes.grid(axis="y", color=QUIET, alpha=0.25, linewidth=0.6)
    _name_worst_days(axes, days)


def _name_worst_days(axes: Axes, days: dict[str, list[Any]]) -> None:
    """Name the days on which one flight in ten was latest, not two within the width of a label."""
    above: dict[str, Any] = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center", "fontsize": 8, "color": INK}
    named: list[int] = []
    for i in sorted(range(len(days["time"])), key=lambda i: -(days["p90"][i] or 0)):
        if all(abs(i - other) >= LABEL_DAYS for other in named) and len(named) < NAMED_DAYS:
            named.append(i)
            axes.annotate(f"{days['time'][i].day} {days['time'][i]:%b}", (days["time"][i], days["p90"][i]), **above)


def _draw_temperatures(axes: Axes, days: dict[str, list[Any]]) -> None:
    axes.fill_between(days["time"], days["low"], days["high"], color=BLUE, alpha=0.2, linewidth=0, label="lowest to highest")
    axes.plot(days["time"], days["mean"], color=ORANGE, linewidth=1.4, label="mean")
    axes.set_ylabel("temperature, °F")
    axes.legend(frameon=False, loc="upper right", ncols=2)
    axes.grid(axis="y", color=QUIET, alpha=0.25, linewidth=0.6)


def _date_axis(axes: Axes) -> None:
    from matplotlib.dates import DateFormatter, MonthLocator

    axes.xaxis.set_major_locator(MonthLocator())  # type: ignore[no-untyped-call] # its dates have no types
    axes.xaxis.set_major_formatter(DateFormatter("%b"))  # type: ignore[no-untyped-call] # its dates have no types
    axes.margins(x=0.005)
