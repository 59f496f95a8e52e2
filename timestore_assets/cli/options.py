"""Arguments and options that several commands take, so that they read the same everywhere.

Among them `--from` and `--to`, a time range.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from timestore_assets.cli.shell_completion import dataset_names
from timestore_assets.model.errors import InputError
from timestore_assets.model.moment import parse_moment

DatasetName = Annotated[
    str,
    typer.Argument(metavar="DATASET", help="Name of a declared dataset.", show_default=False, autocompletion=dataset_names),
]
OptionalDatasetName = Annotated[
    str | None,
    typer.Argument(metavar="DATASET", help="This dataset alone.", show_default=False, autocompletion=dataset_names),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def given_path(text: str) -> Path:
    """A path that a person typed. An empty one, as of a shell variable that is not set, would mean the current folder."""
    if not text.strip():
        raise typer.BadParameter("it is empty; write a path, or . for the current folder")
    return Path(text)


def span(start: str | None, end: str | None) -> tuple[datetime | None, datetime | None]:
    """Both ends as times, None where none is given.

    Raises:
        InputError: a text is no time, or the range is empty.
    """
    now = datetime.now(UTC)
    first, last = (None if text is None else parse_moment(text, now=now) for text in (start, end))
    if first and last and first >= last:
        raise InputError(f"--from {start} is not before --to {end}")
    return first, last
