"""The demo's datasets, declared in the home that the demo runs in: no other home has them."""

from __future__ import annotations

from pathlib import Path

from timestore_assets.cli.output import stderr
from timestore_assets.declarations import read_declarations
from timestore_assets.file_access import make_folder
from timestore_assets.model.errors import InputError, UnavailableError
from timestore_assets.settings import Settings

DEMO_DEFS = Path(__file__).parent / "defs"
WEATHER, FLIGHTS = "nyc_weather", "nyc_flights"


def declare(settings: Settings, *names: str) -> None:
    """Declare those that are not yet, in files of their own which say what was written; one's own declaration of the name stays.

    Raises:
        InputError: a dataset of that name is declared that the demo can't feed. UnavailableError: the home can't be written.
    """
    declared = read_declarations(settings.declaration_folders, project=settings.project_defs)
    for name in names:
        if name in declared:
            sources = declared[name].file_sources if name == WEATHER else declared[name].kafka_sources
            if not sources:
                raise InputError(
                    f"a dataset {name!r} of yours is declared without the source that the demo feeds; "
                    "set TIMESTORE_HOME to an empty folder for the demo"
                )
            continue
        path = settings.home_folder / "defs" / name / "defs.yaml"
        try:
            make_folder(path.parent)
            path.write_text((DEMO_DEFS / name / "defs.yaml").read_text(encoding="utf-8"), encoding="utf-8")
        except OSError as error:
            raise UnavailableError(f"{path} can't be written ({error.strerror}); set TIMESTORE_HOME to another folder") from None
        stderr().print(f"declared {path}", markup=False, soft_wrap=True)
