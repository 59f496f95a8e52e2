"""A time-series warehouse declared as Dagster assets.

`open()` gives the warehouse of this process's settings to a script or a notebook, `TimestoreClient` and `AsyncTimestoreClient`
the one behind a service; `Dataset` is the component a `defs.yaml` names, `defs` what a project of one's own merges in,
`changed_partitions_sensor` what has assets made again that are below a dataset. All are imported when they are used, so that the
command line starts without Dagster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timestore_assets.client import AsyncTimestoreClient, TimestoreClient
    from timestore_assets.in_process import open as open
    from timestore_assets.orchestration.changed_partitions import changed_partitions_sensor
    from timestore_assets.orchestration.code_location import defs
    from timestore_assets.orchestration.component import Dataset

__version__ = "0.1.0"
# `open` is left out: a star import would hide Python's own
__all__ = ["AsyncTimestoreClient", "Dataset", "TimestoreClient", "__version__", "changed_partitions_sensor", "defs"]


def __getattr__(name: str) -> Any:
    if name == "Dataset":
        from timestore_assets.orchestration.component import Dataset

        return Dataset
    if name == "defs":
        from timestore_assets.orchestration.code_location import defs

        return defs
    if name == "changed_partitions_sensor":
        from timestore_assets.orchestration.changed_partitions import changed_partitions_sensor

        return changed_partitions_sensor
    if name in ("AsyncTimestoreClient", "TimestoreClient"):
        from timestore_assets import client

        return getattr(client, name)
    if name == "open":
        from timestore_assets import in_process

        return in_process.open
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "open"])
