"""What errors tell people at this machine, and others shall not know: its folders, and where the catalog's database is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from timestore_assets.warehouse import Warehouse


@dataclass(frozen=True, kw_only=True, slots=True)
class Discretion:
    """`folders`: what is told instead of each, longest first. `catalog`: what errors call the catalog."""

    folders: tuple[tuple[str, str], ...]
    catalog: str

    @classmethod
    def of(cls, warehouse: Warehouse) -> Self:
        settings = warehouse.settings
        known = {
            settings.data_folder: "the store",
            settings.home_folder: "TIMESTORE_HOME",
            **{folder.absolute(): "a folder of declarations" for folder in settings.declaration_folders},
        }
        folders = {str(form): said for folder, said in known.items() for form in (folder, folder.resolve()) if form != Path("/")}
        longest = sorted(folders.items(), key=lambda pair: len(pair[0]), reverse=True)
        return cls(folders=tuple(longest), catalog=warehouse.catalog.place)

    def is_about_the_catalog(self, text: str) -> bool:
        """Whether an error is of the catalog's database: its text may hold hosts, users and statements."""
        return self.catalog in text

    def told(self, text: str) -> str:
        """The text without this machine's folders."""
        for folder, said in self.folders:
            text = text.replace(folder, said)
        return text
