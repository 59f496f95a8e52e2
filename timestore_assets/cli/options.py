"""Arguments and options that several commands take, so that they read the same everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

DatasetName = Annotated[str, typer.Argument(metavar="DATASET", help="Name of a declared dataset.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
