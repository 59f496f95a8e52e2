"""The IO manager for people's own assets: a dataset's partitions come in as frames, frames go out as rows of a dataset.

What reads and writes frames is imported when it is used: no landing or build run needs it, and each would wait for it.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import PrivateAttr

from timestore_assets.model.errors import InputError
from timestore_assets.model.window import Window
from timestore_assets.orchestration.dagster_names import DATASET_METADATA, safe
from timestore_assets.orchestration.resources import WarehouseResource
from timestore_assets.orchestration.step_failures import failing

if TYPE_CHECKING:
    from timestore_assets.orchestration.building.storing import Slot
    from timestore_assets.warehouse import Warehouse


class TimestoreIOManager(dg.ConfigurableIOManager):
    """Reads and writes datasets by annotation.

    An input annotated `pl.LazyFrame` (also what an unannotated one gets), `pl.DataFrame`, `pa.Table` or
    `duckdb.DuckDBPyRelation` holds the rows of exactly the partitions asked for. An output of any of these kinds replaces
    what the same asset stored for the same partitions before. The dataset is the asset of that name; an asset of another
    name says `metadata={"timestore/dataset": "…"}`.
    """

    warehouse: WarehouseResource
    _stack: ExitStack = PrivateAttr(default_factory=ExitStack)
    _opened: Any = PrivateAttr(default=None)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 - Dagster's signature
        """Frames and relations stay readable, at the version they were made of, until the run's end."""
        self._opened = None
        self._stack.close()

    def load_input(self, context: dg.InputContext) -> Any:
        """The rows of the partitions asked for, in the annotated kind of frame."""
        from timestore_assets.orchestration.building.loading import ALL, load, spans

        with failing(f"reading {context.asset_key.to_user_string()}"):
            warehouse = self._warehouse()
            dataset, record = warehouse.resolve(_dataset_name(context))
            wanted = list(spans(window for _, window in _windows(context))) if context.has_asset_partitions else [ALL]
            kind, limits = context.dagster_type.typing_type, warehouse.limits
            return load(warehouse.querier, limits, dataset, record, wanted, kind, stack=self._stack)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Store a frame as rows of the dataset that the asset stands for."""
        from timestore_assets.orchestration.building.storing import store

        name = _dataset_name(context)
        with failing(f"storing into {name}"):
            report = store(self._warehouse(), name, obj, _slots(context), actor=f"dagster run {context.run_id}")
        if report.dead_letters:
            context.log.warning(f"{report.dead_letters:,} rows were refused; see them with: timestore deadletters list {name}")
        context.add_output_metadata(
            {
                "dagster/partition_row_count" if context.has_asset_partitions else "dagster/row_count": report.landed,
                "dead_letters": report.dead_letters,
                "dataset": name,
                "manifest_version": report.manifest_version,
            }
        )

    def _warehouse(self) -> Warehouse:
        if self._opened is None:
            self._opened = self._stack.enter_context(self.warehouse.opened())
        opened: Warehouse = self._opened
        return opened


def _dataset_name(context: dg.InputContext | dg.OutputContext) -> str:
    """The dataset that an asset stands for: as its metadata says, else by its name."""
    holder = context.upstream_output if isinstance(context, dg.InputContext) else context
    named = (holder.definition_metadata or {}).get(DATASET_METADATA) if holder is not None else None
    return str(getattr(named, "value", named) or context.asset_key.path[-1])


def _slots(context: dg.OutputContext) -> list[Slot]:
    """What the output replaces, a slot a partition."""
    from timestore_assets.orchestration.building.storing import Slot

    asset = "_".join(safe(part) for part in context.asset_key.path)
    if not context.has_asset_partitions:
        return [Slot(asset=asset)]
    if not isinstance(context.asset_partitions_def, dg.TimeWindowPartitionsDefinition):
        return [Slot(asset=asset, partition=key) for key in context.asset_partition_keys]
    return [Slot(asset=asset, partition=key, start=start, end=end) for key, (start, end) in _windows(context)]


def _windows(context: dg.InputContext | dg.OutputContext) -> list[tuple[str, tuple[datetime, datetime]]]:
    """The partitions at hand with their times, not always the dataset's: a daily asset may store into a monthly one."""
    definition = context.asset_partitions_def
    if list(context.asset_partition_keys) == [Window.ALL.value]:
        whole = Window.ALL.parse_key(Window.ALL.value)
        return [(whole.key, (whole.start, whole.end))]
    if not isinstance(definition, dg.TimeWindowPartitionsDefinition):
        raise InputError(
            f"the partitions of {context.asset_key.to_user_string()} are no times, so its rows can't be told apart by them"
        )
    windows = ((key, definition.time_window_for_partition_key(key)) for key in context.asset_partition_keys)
    return [(key, (window.start, window.end)) for key, window in windows]
