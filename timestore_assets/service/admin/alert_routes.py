"""`/admin/alerts`: the alerts that datasets declare and how they stand, and a try of a channel."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from timestore_assets.alerting.channels import channels_of
from timestore_assets.alerting.monitor import alert_to_plain, statuses, watched
from timestore_assets.alerting.sending import try_channel
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import UnknownResourceError, responses
from timestore_assets.service.query.dataset_alerts_route import AlertAnswer
from timestore_assets.service.state import UsesAdmin, UsesService

router = APIRouter()

ERRORS = responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE)


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
