"""What the packaged `workspace.yaml` and `dagster dev -m timestore_assets.definitions` load: every declared dataset."""

from __future__ import annotations

import dagster as dg

from timestore_assets.orchestration import code_location


@dg.definitions
def defs() -> dg.Definitions:
    return code_location.defs()
