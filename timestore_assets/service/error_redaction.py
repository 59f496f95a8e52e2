"""What errors tell people at this machine, and others shall not know: its folders, the buckets of
its stores, and where the catalog's database is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from timestore_assets.storage.target_settings import configured_targets, place_of

if TYPE_CHECKING:
    from timestore_assets.warehouse import Warehouse


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorRedaction:
    """What is told instead of what only operators should read."""

    places: tuple[tuple[str, str], ...]
    """What is told instead of each folder or bucket, longest first."""
    catalog: str
    """What errors call the catalog."""

    @classmethod
    def of(cls, warehouse: Warehouse) -> Self:
        settings = warehouse.settings
        targets = configured_targets(settings).values()
        known = {
            **{Path(target.root): "the store" for target in targets if target.driver == "local"},
            settings.home_folder: "TIMESTORE_HOME",
            **{folder.absolute(): "a folder of declarations" for folder in settings.declaration_folders},
        }
        if settings.project_defs is not None:
            known[settings.project_defs] = "a folder of declarations"
        folders = {str(form): said for folder, said in known.items() for form in (folder, folder.resolve()) if form != Path("/")}
        buckets = {place_of(target): "the store" for target in targets if target.driver != "local"}
        longest = sorted((folders | buckets).items(), key=lambda pair: len(pair[0]), reverse=True)
        return cls(places=tuple(longest), catalog=warehouse.catalog.place)

    def is_about_the_catalog(self, text: str) -> bool:
        """Whether an error is of the catalog's database: its text may hold hosts, users and statements."""
        return self.catalog in text

    def told(self, text: str) -> str:
        """The text without this machine's folders, the stores' buckets and where the catalog is."""
        text = text.replace(self.catalog, "the catalog")
        for place, said in self.places:
            text = text.replace(place, said)
        return text
