"""`version`: of this package and of what it stands on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import typer

from timestore_assets import __version__
from timestore_assets.cli.options import AsJson
from timestore_assets.cli.output import print_json

PARTS = ("dagster", "duckdb", "pyarrow", "polars", "pandera", "sqlalchemy")


def add_to(app: typer.Typer) -> None:
    app.command("version", help="Show the versions of this package and of its main parts.")(show)


def show_short(wanted: bool) -> None:
    """The option `--version` of the whole command."""
    if wanted:
        typer.echo(f"timestore {__version__}")
        raise typer.Exit


def show(json: AsJson = False) -> None:
    versions = {"timestore_assets": installed("timestore_assets"), "python": platform.python_version()}
    versions |= {part: installed(part) for part in PARTS}
    if json:
        print_json(versions)
        return
    for name, text in versions.items():
        typer.echo(f"{name} {text}")


def installed(name: str) -> str:
    """The version of a package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
