"""`alerts list`, `check` and `test`: what is watched, how it stands, and whether channels take messages."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timestore_assets.cli.open_warehouse import actor, open_warehouse
from timestore_assets.cli.options import AsJson
from timestore_assets.cli.output import print_json, print_table, stderr, stdout
from timestore_assets.model.errors import InputError
from timestore_assets.model.window import format_duration

if TYPE_CHECKING:
    from timestore_assets.warehouse import Warehouse

Dataset = Annotated[str | None, typer.Argument(metavar="[DATASET]", help="Only the alerts of this one.", show_default=False)]
Channel = Annotated[str, typer.Argument(metavar="CHANNEL", help="A name of TIMESTORE_ALERT_CHANNELS.", show_default=False)]

CHECK_HELP = """Look at all conditions now, and send what is to be told.

The sensor `timestore_alerts` and `timestore serve` do the same every TIMESTORE_ALERT_INTERVAL_SECONDS; this is for cron."""


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Show the alerts that datasets declare, look at them, try channels.")
    group.command("list", help="Show what is watched and how it stands.")(list_alerts)
    group.command("check", help=CHECK_HELP)(check)
    group.command("test", help="Send a message to a channel that says it is a try.")(test)
    app.add_typer(group, name="alerts")


def list_alerts(dataset: Dataset = None, json: AsJson = False) -> None:
    from timestore_assets.alerting.monitor import alert_to_plain, statuses, watched

    with open_warehouse() as warehouse:
        datasets = watched(warehouse) if dataset is None else [warehouse.declared(dataset)]
        found = [alert_to_plain(status) for declared in datasets for status in statuses(warehouse, declared)]
        problems = _unsendable(warehouse)
    if json:
        print_json(found)
    elif found:
        print_table(["dataset", "alert", "state", "~now", "tells"], (_row(alert) for alert in found))
    else:
        stdout().print(f"dataset {dataset} declares no alerts" if dataset else "no dataset declares alerts", markup=False)
    for problem in problems:
        stderr().print(problem, markup=False)


def check(json: AsJson = False) -> None:
    from timestore_assets.alerting.monitor import look
    from timestore_assets.alerting.sending import deliver

    with open_warehouse() as warehouse:
        told, taken = look(warehouse), deliver(warehouse)
    if json:
        print_json({"turned": told, "sent": taken})
    else:
        stdout().print(f"{told} messages to send, {taken} sent", markup=False)


def test(channel: Channel, json: AsJson = False) -> None:
    from timestore_assets.alerting.sending import try_channel

    with open_warehouse() as warehouse:
        try_channel(warehouse, channel, actor=actor())
    if json:
        print_json({"channel": channel, "sent": True})
    else:
        stdout().print(f"channel {channel} has taken it", markup=False)


def _unsendable(warehouse: Warehouse) -> list[str]:
    """A sentence on each channel that messages wait for and that is not set; or on what is wrong with the setting."""
    from timestore_assets.alerting.channels import channels_of
    from timestore_assets.alerting.sending import unnamed

    waiting = warehouse.catalog.alerts.waiting()
    try:
        channels = channels_of(warehouse.settings)
    except InputError as error:
        return [f"{error}; {sum(waiting.values())} messages wait until then"]
    return [unnamed(channel, count) for channel, count in sorted(waiting.items()) if channel not in channels]


def _row(alert: dict[str, Any]) -> list[str]:
    limit = "" if alert["above"] is None else f" above {alert['above']:,}{' s' if alert['alert'] == 'staleness' else ''}"
    lasting = f" for {format_duration(timedelta(seconds=alert['for']))}" if alert["for"] else ""
    now = alert["summary"] or "can't be told now"
    waiting = f" ({alert['waiting']} to send)" if alert["waiting"] else ""
    return [alert["dataset"], alert["alert"] + limit + lasting, alert["state"], now, ", ".join(alert["to"]) + waiting]
