"""The sensor that has its code location loaded anew when declarations have changed since it was loaded.

A wrong declaration is said, and nothing is loaded: Dagster would otherwise take down the whole location, with the sensors of
all datasets.
"""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

import dagster as dg

from timestore_assets.declarations import read_declarations
from timestore_assets.extras import needs
from timestore_assets.model.errors import InputError, TimestoreError, UnavailableError
from timestore_assets.orchestration.building.build_asset import build_asset
from timestore_assets.orchestration.dagster_names import RELOAD_SENSOR
from timestore_assets.orchestration.declared_state import DeclaredState, declared_state
from timestore_assets.orchestration.sensor_pace import least_seconds
from timestore_assets.orchestration.served_datasets import ServedDatasets
from timestore_assets.settings import Settings

_ANSWER_SECONDS = 120
"""How long loading may take; the old definitions go on meanwhile."""


def reload_sensors(served: ServedDatasets, settings: Settings) -> list[dg.SensorDefinition]:
    """The sensor, where TIMESTORE_DAGSTER_RELOAD_URL says whom to ask."""
    if settings.dagster_reload_url is None:
        return []
    needs("ui", "dagster_graphql")
    return [_reload_sensor(settings.dagster_reload_url, served.state or declared_state(settings), settings)]


def _reload_sensor(url: str, loaded: DeclaredState, settings: Settings) -> dg.SensorDefinition:
    refused, reload_under_way = _RefusedDeclarations(), _ReloadUnderWay()

    @dg.sensor(
        name=RELOAD_SENSOR,
        minimum_interval_seconds=least_seconds(min(settings.sensor_interval_seconds, 5)),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Asks {url} to load this code location anew when a declaration is added, changed or withdrawn.",
    )
    def reload(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        current = Settings.load()
        state = declared_state(current)
        if not state.differs(loaded):
            return dg.SkipReason("everything is loaded as it is declared")
        here = context.code_location_origin
        name = here.location_name if here else "timestore_assets"
        if reload_under_way:
            return dg.SkipReason(f"declarations have changed; {url} is still loading {name} anew")
        try:
            _check(current)
        except TimestoreError as error:
            return refused.said(state, f"{error}; what was loaded before goes on until that is mended")
        reload_under_way.begin(url, name)
        return dg.SkipReason(f"declarations have changed; {url} was asked to load {name} anew")

    return reload


def _check(settings: Settings) -> None:
    """Refuse what could not be loaded.

    Raises:
        TimestoreError: a declaration is wrong, or Dagster would not take its dataset.
    """
    for name, dataset in read_declarations(settings.declaration_folders, project=settings.project_defs).items():
        try:
            build_asset(dataset, settings)
        except dg.DagsterInvalidDefinitionError as error:
            raise InputError(
                f"dataset {name!r} is declared in a way that Dagster refuses: {str(error).splitlines()[0]}"
            ) from None


class _ReloadUnderWay:
    """One reload at a time: on a busy machine it takes longer than a tick, and a second one would make both slower."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def __bool__(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def begin(self, url: str, location: str) -> None:
        """In a thread of its own, because this very process is replaced while the answer is on its way."""
        self._thread = threading.Thread(target=_reload, args=(url, location), name="reload", daemon=True)
        self._thread.start()


class _RefusedDeclarations:
    """A failed tick for each wrong state; the ticks that follow only repeat the words."""

    def __init__(self) -> None:
        self._last: DeclaredState | None = None

    def said(self, state: DeclaredState, words: str) -> dg.SkipReason:
        if state != self._last:
            self._last = state
            raise InputError(words)
        return dg.SkipReason(words)


def _reload(url: str, location: str) -> None:
    try:
        reload_location(url, location)
    except TimestoreError as error:
        dg.get_dagster_logger().error(str(error))


def reload_location(url: str, location: str) -> None:
    """Have a webserver load a code location anew, and wait until it has.

    Raises:
        InputError: it was loaded, and is wrong; Dagster shows the location as failed until it is loaded again.
        UnavailableError: the webserver doesn't answer, or has no such location.
    """
    from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError, ReloadRepositoryLocationStatus

    parts = urlsplit(url)
    try:
        client = DagsterGraphQLClient(
            parts.hostname or "",
            port_number=parts.port,
            use_https=parts.scheme == "https",
            path_prefix=parts.path.rstrip("/"),
            timeout=_ANSWER_SECONDS,
        )
        answer = client.reload_repository_location(location)
    except (DagsterGraphQLClientError, OSError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]  # the client's own words hold the whole query
        raise UnavailableError(
            f"{url} (TIMESTORE_DAGSTER_RELOAD_URL) could not be asked to load {location} anew: {reason}"
        ) from None
    if answer.status == ReloadRepositoryLocationStatus.SUCCESS:
        return
    if answer.failure_type == "PythonError":
        raise InputError(f"Dagster could not load {location}: {(answer.message or '').strip().splitlines()[-1]}")
    raise UnavailableError(f"{url} (TIMESTORE_DAGSTER_RELOAD_URL) did not load {location}: {answer.message}")
