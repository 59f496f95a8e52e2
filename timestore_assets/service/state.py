"""What all routes share: the open warehouse, who may do what in it, and what runs beside the requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Self

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from timestore_assets.landing.requests.ingest import GroupLanders
from timestore_assets.landing.requests.request_queue import QueueLimits
from timestore_assets.model.dataset import Dataset
from timestore_assets.querying.sql.sql_worker import Workers
from timestore_assets.service.access.caller import Caller
from timestore_assets.service.access.control import AccessControl
from timestore_assets.service.alert_loop import alert_loop
from timestore_assets.service.answers.query_gate import QueryGate
from timestore_assets.service.background_loop import BackgroundLoop
from timestore_assets.service.body_intake import Intake
from timestore_assets.service.declaration_loop import declaration_loop
from timestore_assets.service.delta_compaction import Merging
from timestore_assets.service.lineage_loop import lineage_loop
from timestore_assets.service.observing.catalog_figures import CatalogFigures
from timestore_assets.service.observing.live_figures import Lags, LiveFigures
from timestore_assets.service.observing.metrics import Metrics
from timestore_assets.service.observing.readiness import ReadinessProbe
from timestore_assets.service.operation_runner import OperationRunner
from timestore_assets.service.problems import ForbiddenError, UnknownResourceError
from timestore_assets.service.service_log import Log
from timestore_assets.tailing.hot_buffers import HotBuffers

if TYPE_CHECKING:
    from timestore_assets.warehouse import Warehouse

Need = Literal["read", "write", "see"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """`landers`, `hot`, `merging`, `operations`, `alerts`, `lineage` and `declarations` have threads, which `close` ends."""

    warehouse: Warehouse
    access: AccessControl
    landers: GroupLanders
    intake: Intake
    hot: HotBuffers
    gate: QueryGate
    workers: Workers
    merging: Merging
    operations: OperationRunner
    alerts: BackgroundLoop
    lineage: BackgroundLoop
    declarations: BackgroundLoop
    metrics: Metrics
    lags: Lags
    readiness: ReadinessProbe
    log: Log

    @classmethod
    def open(cls, warehouse: Warehouse, log: Log) -> Self:
        """The service over a warehouse that the caller closes after it."""
        settings, catalog, holder = warehouse.settings, warehouse.catalog, warehouse.holder
        metrics = Metrics()
        landers = GroupLanders(
            warehouse.writing,
            bounds=QueueLimits.of(settings),
            noticed=metrics.observe_commit,
            gauge=warehouse.backlog,
        )
        hot = HotBuffers(catalog, settings, warehouse.limits, holder=holder)
        lags = Lags(warehouse)
        metrics.add((CatalogFigures(warehouse), LiveFigures(landers, hot, lags)))

        def held() -> set[str]:
            return {*landers.waiting(), *hot.datasets(), *metrics.datasets()}

        def gone(name: str) -> None:
            landers.let_go(name)
            hot.let_go(name)
            metrics.forget(name)

        return cls(
            warehouse=warehouse,
            access=AccessControl(settings, catalog.tokens),
            landers=landers,
            intake=Intake(settings),
            hot=hot,
            workers=Workers(),
            gate=QueryGate(concurrency=settings.query_concurrency, waiting=settings.query_waiting),
            merging=Merging(warehouse, metrics, log),
            operations=OperationRunner(warehouse, log),
            alerts=alert_loop(warehouse, log),
            lineage=lineage_loop(warehouse, log),
            declarations=declaration_loop(warehouse, log, held=held, gone=gone),
            metrics=metrics,
            lags=lags,
            readiness=ReadinessProbe(warehouse, landers, hot),
            log=log,
        )

    def start(self) -> None:
        """Begin what goes on without requests."""
        self.merging.start()
        self.alerts.start()
        if self.warehouse.settings.openlineage is not None:
            self.lineage.start()
        self.declarations.start()

    def close(self) -> None:
        """Land what waits, stop merging and tailing."""
        self.workers.close()
        self.merging.ask_to_stop()
        self.operations.close()
        self.alerts.close()
        self.lineage.close()
        self.declarations.close()
        self.landers.close()
        self.hot.close()
        self.merging.close()

    async def operator(self, request: Request) -> Caller:
        """Who asks, also while the catalog is away; errors as `AccessControl.identify`."""
        caller = await self.access.identify(request)
        request.state.caller = caller  # for the line in the log
        return caller

    async def caller(self, request: Request) -> Caller:
        """Who asks, with the datasets that there are now; errors as `AccessControl.identify`."""
        caller = await self.operator(request)
        if not self.warehouse.declarations.are_fresh:
            await run_in_threadpool(self.warehouse.refresh)
        return caller

    def visible(self, caller: Caller, need: Need = "read") -> dict[str, Dataset]:
        """The datasets a caller may read, write or see, by name."""
        return {name: one for name, one in sorted(self.warehouse.datasets.items()) if _allows(caller, one, need)}

    def dataset(self, caller: Caller, name: str, need: Need = "read") -> Dataset:
        """A dataset that the caller may use like this.

        Raises:
            UnknownResourceError: there is none that the caller may know of, in words that don't tell the one from the other.
            ForbiddenError: the caller may use it in another way only.
        """
        found = self.warehouse.datasets.get(name)
        if found is None or not caller.may_see(found):
            raise UnknownResourceError(f"there is no dataset {name[:63]!r} that you may use; GET /datasets lists those")
        if not _allows(caller, found, need):
            raise ForbiddenError(f"your scopes don't allow to {need} dataset {name!r}")
        return self.warehouse.served(found)


def _allows(caller: Caller, dataset: Dataset, need: Need) -> bool:
    if need == "see":
        return caller.may_see(dataset)
    return caller.may_read(dataset) if need == "read" else caller.may_write(dataset)


def service_of(request: Request) -> Service:
    """The service of the application that answers a request."""
    service: Service = request.app.state.service
    return service


async def _uses_service(request: Request) -> Service:
    # a plain function would be called in another thread, each time
    return service_of(request)


async def operator_of(request: Request) -> Caller:
    """See `Service.operator`."""
    return await service_of(request).operator(request)


async def caller_of(request: Request) -> Caller:
    """See `Service.caller`."""
    return await service_of(request).caller(request)


async def admin_of(request: Request) -> Caller:
    """An administrator; ForbiddenError for anybody else."""
    caller = await caller_of(request)
    if not caller.is_admin:
        raise ForbiddenError(f"this needs the scope {caller.known.admin!r}")
    return caller


UsesService = Annotated["Service", Depends(_uses_service)]
UsesCaller = Annotated[Caller, Depends(caller_of)]
UsesOperator = Annotated[Caller, Depends(operator_of)]
UsesAdmin = Annotated[Caller, Depends(admin_of)]
