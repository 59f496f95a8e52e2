"""Adds the datasets that a user declares outside this package."""

from __future__ import annotations

import dagster as dg

from timestore_assets.orchestration.outside import outside_defs
from timestore_assets.settings import Settings


@dg.definitions
def outside() -> dg.Definitions:
    return outside_defs(Settings.load())
