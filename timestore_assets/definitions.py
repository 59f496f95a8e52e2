"""What `workspace.yaml` loads: the packaged datasets, those of the user's folders, and what they share."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from timestore_assets.orchestration.outside import check_declarations
from timestore_assets.orchestration.shared_defs import shared_defs
from timestore_assets.settings import Settings


@dg.definitions
def defs() -> dg.Definitions:
    settings = Settings.load()
    check_declarations(settings)
    return dg.Definitions.merge(dg.load_from_defs_folder(path_within_project=Path(__file__).parent), shared_defs(settings))
