"""A time-series warehouse declared as Dagster assets.

`Dataset`, the component a `defs.yaml` names, and `TimestoreClient` are imported when they are used, so that the command line
starts without Dagster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timestore_assets.client import TimestoreClient
    from timestore_assets.orchestration.component import Dataset

__version__ = "0.1.0"
__all__ = ["Dataset", "TimestoreClient", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Dataset":
        from timestore_assets.orchestration.component import Dataset

        return Dataset
    if name == "TimestoreClient":
        from timestore_assets.client import TimestoreClient

        return TimestoreClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
