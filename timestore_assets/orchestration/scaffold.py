"""What `dg scaffold defs timestore_assets.Dataset NAME` writes: a declaration that loads, with comments on what to change."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import click
import dagster as dg

_TEMPLATE = """\
type: {type_name}
attributes:
  name: {name}
  description: ""
  columns: # string, int64, double, boolean, timestamp, date, …; undeclared ones are taken as they come
    at: timestamp
    sensor: string
    value: {{type: double, nullable: true}} # also unit, description, ge, le, isin, matches
  time: at # decides which partition a row belongs to
  window: day # hour, day, week, month or year: one partition each; or all: a single one
  start: {start} # earlier rows are refused
  # dedupe: {{keys: [sensor, at], keep: last}} # which rows are the same record
  sources:
    - files: {{prefix: inbox/{name}/, format: csv}} # or json, ndjson, parquet; in TIMESTORE_HOME, or s3://bucket/prefix/
    # - kafka: {{topic: {name}}}
    # - http: {{}}
"""


class DatasetScaffolder(dg.Scaffolder[Any]):
    """`timestore init FILE --defs FOLDER` writes one from a file of one's own instead."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write `defs.yaml`, or one more document into it.

        Raises:
            click.UsageError: Python was asked for, which the timestore commands could not read; dg prints the sentence.
        """
        if request.scaffold_format != "yaml":
            raise click.UsageError("a dataset is declared in YAML, which the timestore commands read too; leave --format out")
        folder = request.target_path.parent if request.append else request.target_path
        today = datetime.now(UTC).date()
        text = _TEMPLATE.format(type_name=request.type_name, name=dataset_name(folder.name), start=today.replace(month=1, day=1))
        with (request.target_path if request.append else folder / "defs.yaml").open("a" if request.append else "w") as file:
            file.write(f"---\n{text}" if request.append else text)


def dataset_name(folder: str) -> str:
    """A folder's name as that of a dataset: lower-case letters, digits and `_`, beginning with a letter."""
    name = re.sub(r"[^a-z0-9]+", "_", folder.lower()).strip("_")
    return name if name[:1].isalpha() else f"dataset_{name}".rstrip("_")
