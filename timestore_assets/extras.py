"""The packages that not every installation needs, by the extra that brings them, and what is said where one is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal

from timestore_assets.model.errors import MissingExtraError

Extra = Literal["avro", "checks", "cloud", "demo", "kafka", "openlineage", "postgres", "serve", "spreadsheets", "tracing", "ui"]

PURPOSES: dict[Extra, str] = {
    "avro": "Avro files need",
    "checks": "constraints of columns, pandera models and Polars frames need",
    "cloud": "object stores and AWS Secrets Manager need",
    "demo": "the demo's data and its picture need",
    "kafka": "topics need",
    "openlineage": "TIMESTORE_OPENLINEAGE needs",
    "postgres": "a catalog in PostgreSQL needs",
    "serve": "the HTTP service needs",
    "spreadsheets": "Excel's and OpenDocument's files need",
    "tracing": "TIMESTORE_OTLP_ENDPOINT needs",
    "ui": "Dagster's UI needs",
}


@contextmanager
def extra(name: Extra) -> Iterator[None]:
    """While packages of an extra are imported, here or by a library.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "timestore_assets":  # nothing to install mends that
            raise
        raise missing(name, package) from None


def needs(name: Extra, *packages: str) -> None:
    """Refuse to go on without packages that another process will import, or that are slow to import; errors as `extra`."""
    absent = [package for package in packages if not has(package)]
    if absent:
        raise missing(name, *absent)


def needs_all(purpose: str, packages: Mapping[str, Extra]) -> None:
    """Refuse to go on without packages of several extras, all named at once; errors as `extra`."""
    absent = [package for package in packages if not has(package)]
    if absent:
        raise _not_installed(purpose, absent, ",".join(sorted({packages[package] for package in absent})))


def has(package: str) -> bool:
    """Whether a package is installed, without importing it."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def missing(name: Extra, *packages: str) -> MissingExtraError:
    """The error that says which extra brings the packages, and how it is installed."""
    return _not_installed(PURPOSES[name], packages, name)


def _not_installed(purpose: str, packages: Sequence[str], extras: str) -> MissingExtraError:
    what = f"the package {packages[0]}, which is" if len(packages) == 1 else f"the packages {', '.join(packages)}, which are"
    return MissingExtraError(f"{purpose} {what} not installed: pip install 'timestore-assets[{extras}]'")
