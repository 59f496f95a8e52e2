"""`GET /datasets/{name}/alerts`: what is watched in a dataset and how it stands, for those who may read it."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter
from pydantic import Field

from timestore_assets.alerting.monitor import alert_to_plain, statuses
from timestore_assets.model.alert import AlertKind
from timestore_assets.service.json_bodies import Wire
from timestore_assets.service.problems import responses
from timestore_assets.service.query.status_routes import DatasetName
from timestore_assets.service.state import UsesCaller, UsesService

router = APIRouter(tags=["datasets"])

ERRORS = responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)


class AlertAnswer(Wire):
    """One alert of a dataset."""

    dataset: str = Field(examples=["nyc_weather"])
    alert: AlertKind = Field(description="What is watched.")
    above: int | None = Field(description="What is above it raises the alert; of staleness in seconds.", examples=[0])
    hold: int | None = Field(alias="for", description="Seconds for which it must hold before it fires.", examples=[300])
    keep: int | None = Field(description="Seconds for which it must not hold any more before it ends.", examples=[600])
    remind: int | None = Field(description="Seconds after which people are told again while it fires.", examples=[86400])
    to: list[str] = Field(
        description="Names of the channels that are told; their addresses are shown to nobody.", examples=[["slack"]]
    )
    state: str = Field(
        description="firing, pending until `for` has passed, ok, or unknown before the first look.", examples=["ok"]
    )
    since: str | None = Field(description="Since when it is in that state.", examples=["2026-01-02T03:04:05Z"])
    value: str | None = Field(description="What is measured now; null when it can't be told.", examples=["0"])
    summary: str | None = Field(examples=["0 records are dead letters, not above 0"])
    waiting: int = Field(description="Messages about it that its channels have not taken yet.", examples=[0])


class DatasetAlerts(Wire):
    """A dataset's alerts in the order of its declaration."""

    dataset: str = Field(examples=["nyc_weather"])
    retired: bool = Field(description="Nobody looks at the alerts of a retired dataset, so none are given.")
    alerts: list[AlertAnswer]


@router.get("/datasets/{name}/alerts", summary="A dataset's alerts", response_model=DatasetAlerts, responses=ERRORS)
def alerts(name: DatasetName, caller: UsesCaller, service: UsesService) -> DatasetAlerts:
    """What its declaration has below `alerts:`. Conditions are looked at now; brokers are waited for briefly."""
    dataset = service.dataset(caller, name)
    retired = service.warehouse.is_retired(name)
    found = [] if retired else [alert_to_plain(status) for status in statuses(service.warehouse, dataset)]
    return DatasetAlerts(dataset=name, retired=retired, alerts=[AlertAnswer.model_validate(alert) for alert in found])
