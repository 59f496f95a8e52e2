"""`/admin/alerts`: the alerts that datasets declare and how they stand, and a try of a channel."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from timestore_assets.alerting.channels import channels_of
from timestore_assets.alerting.monitor import alert_to_plain, statuses, watched
from timestore_assets.alerting.sending import try_channel
from timestore_assets.model.alert import AlertKind
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import UnknownResourceError, responses
from timestore_assets.service.state import UsesAdmin, UsesService

router = APIRouter()

ERRORS = responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE)


class AlertAnswer(Wire):
    """One alert of a dataset."""

    dataset: str = Field(examples=["nyc_weather"])
    alert: AlertKind = Field(description="What is watched.")
    above: int | None = Field(description="What is above it raises the alert; of staleness in seconds.", examples=[0])
    hold: int | None = Field(alias="for", description="Seconds for which it must hold before it fires.", examples=[300])
    keep: int | None = Field(description="Seconds for which it must not hold any more before it ends.", examples=[600])
    remind: int | None = Field(description="Seconds after which people are told again while it fires.", examples=[86400])
    to: list[str] = Field(description="Channels that are told.", examples=[["slack"]])
    state: str = Field(
        description="firing, pending until `for` has passed, ok, or unknown before the first look.", examples=["ok"]
    )
    since: str | None = Field(description="Since when it is in that state.", examples=["2026-01-02T03:04:05Z"])
    value: str | None = Field(description="What is measured now; null when it can't be told.", examples=["0"])
    summary: str | None = Field(examples=["0 records are dead letters, not above 0"])
    waiting: int = Field(description="Messages about it that its channels have not taken yet.", examples=[0])


class AlertList(Wire):
    """All alerts, and the channels that the deployment has."""

    alerts: list[AlertAnswer]
    channels: list[str] = Field(examples=[["ops", "slack"]])


class TryAnswer(Wire):
    """A channel has taken a message."""

    channel: str = Field(examples=["slack"])


@router.get("/admin/alerts", summary="Alerts and how they stand", response_model=AlertList, responses=ERRORS)
def listed(_caller: UsesAdmin, service: UsesService) -> AlertList:
    """What datasets declare below `alerts:`. Conditions are looked at now; messages are sent beside requests."""
    warehouse = service.warehouse
    found = [alert_to_plain(status) for dataset in watched(warehouse) for status in statuses(warehouse, dataset)]
    alerts = [AlertAnswer.model_validate(alert) for alert in found]
    return AlertList(alerts=alerts, channels=sorted(channels_of(warehouse.settings)))


@router.post(
    "/admin/alerts/channels/{name}/test",
    summary="Try a channel",
    response_model=TryAnswer,
    responses={**ERRORS, **responses(HTTPStatus.NOT_FOUND)},
)
def tried(
    name: Annotated[str, Path(max_length=63, description="A name of TIMESTORE_ALERT_CHANNELS.", examples=["slack"])],
    caller: UsesAdmin,
    service: UsesService,
) -> TryAnswer:
    """Sends a message that says it is a try, and answers once the channel has taken it."""
    if name not in channels_of(service.warehouse.settings):
        raise UnknownResourceError(f"there is no channel {name!r}; set it in TIMESTORE_ALERT_CHANNELS")
    try_channel(service.warehouse, name, actor=caller.name)
    return TryAnswer(channel=name)
