"""A warehouse by settings alone, in any storage and on either catalog, and the commands that a person types."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore

from timestore_assets.storage.object_store import MARKS
from timestore_assets_tests.support.bucket_settings import credentials, target_settings
from timestore_assets_tests.support.command_line import CommandLine, Result
from timestore_assets_tests.support.dagster_deployment import DECLARATION
from timestore_assets_tests.support.object_servers import ObjectServer

ROOT = "warehouse"
"""Prefix of the segments in a bucket; what is to be landed lies beside it."""
Row = Mapping[str, Any]


def environment_of(server: ObjectServer | None, catalog_url: str | None, **settings: Any) -> dict[str, str]:
    """The variables that put segments into a bucket (None: a local folder) and the catalog to a URL. `settings`: more of them."""
    found = dict(settings)
    if server is not None:
        found |= {**target_settings(server), "storage_root": ROOT}
    if catalog_url is not None:
        found["database_url"] = catalog_url
    keys = credentials(server) if server is not None else {}
    return {**keys, **{f"TIMESTORE_{name.upper()}": str(value) for name, value in found.items()}}


@dataclass(frozen=True, kw_only=True)
class CommandWarehouse:
    """`line`: a shell with the settings of the warehouse. `server`: has its segments in a bucket; None: they are in a folder."""

    line: CommandLine
    server: ObjectServer | None

    @classmethod
    def at(cls, folder: Path, server: ObjectServer | None, catalog_url: str | None, **settings: Any) -> CommandWarehouse:
        """A warehouse with the dataset `readings` of `orchestration_ground`, and nothing in it."""
        line = CommandLine(folder)
        line.environment |= environment_of(server, catalog_url, **settings)
        made = cls(line=line, server=server)
        made.declare(DECLARATION)
        return made

    @property
    def home(self) -> Path:
        return self.line.home

    def declare(self, text: str) -> None:
        path = self.home / "defs" / "readings" / "defs.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def run(self, *arguments: str) -> Any:
        """What a command answers with `--json`; it has to end well."""
        return self.line.inside(*arguments, "--json").json

    def refused(self, *arguments: str) -> Result:
        """A command that can't end well."""
        found = self.line.inside(*arguments, "--json")
        assert found.code != 0, found.out
        return found

    def here(self, name: str, content: bytes) -> str:
        """The path of a new file on this machine."""
        path = self.line.folder / name
        path.write_bytes(content)
        return str(path)

    def beside(self, name: str, content: bytes) -> str:
        """The URI of a new object beside the segments; a path where they are in a folder."""
        if self.server is None:
            return self.here(name, content)
        obstore.put(self.server.store(), f"raw/{name}", content)
        return self.uri(name)

    def uri(self, name: str) -> str:
        """Where `beside` has put it."""
        return str(self.line.folder / name) if self.server is None else f"{self.server.uri}/raw/{name}"

    def objects(self) -> set[str]:
        """Names of all files or objects of the warehouse, its dead letters too; but for the marks that say whose they are."""
        if self.server is None:
            data = self.home / "data"
            found = {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()}
        else:
            found = {one["path"] for one in obstore.list(self.server.store(ROOT)).collect()}
        return {name for name in found if not name.startswith(MARKS)}

    def build(self) -> dict[str, str]:
        """Build and seal what is not; content hashes by partition."""
        self.run("build", "readings")
        found = self.run("partitions", "readings")
        assert {one["state"] for one in found} == {"sealed"}, found
        return {one["partition"]: one["content_hash"] for one in found}

    def query(self, *arguments: str) -> list[Row]:
        """Rows of the dataset, in the order of time and device."""
        return sorted(self.run("query", "readings", *arguments), key=lambda row: (row["at"], row.get("device", "")))

    def is_proven(self) -> bool:
        """Whether `verify` finds nothing wrong and nothing left over."""
        (found,) = self.run("verify", "readings")
        return bool(found["ok"] and not found["orphans"])

    def counters(self) -> dict[str, int]:
        """Of all sources of the dataset together; each of them has to balance."""
        (sources,) = (one["sources"] for one in self.run("status")["datasets"] if one["dataset"] == "readings")
        parts = ("landed", "duplicates", "late_dropped", "held", "dead_letters")
        assert all(one["read"] == sum(one[part] for part in parts) for one in sources), sources
        return {name: sum(one[name] for one in sources) for name in ("read", *parts)}


def lines_of(rows: Sequence[Row]) -> bytes:
    """JSON lines."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
