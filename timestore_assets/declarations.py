"""Find and read the declarations of the configured folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from timestore_assets.model.dataset import Dataset
from timestore_assets.model.declaration import parse_declaration
from timestore_assets.model.errors import DeclarationError, InputError


def declaration_files(folders: Iterable[Path]) -> Iterator[Path]:
    """Every `*/defs.yaml` below the folders, in order; a folder that is itself a dataset's counts too.

    Raises:
        InputError: a folder named in the settings is a file.
    """
    seen: set[Path] = set()
    for folder in folders:
        if folder.is_file():
            raise InputError(f"{folder} is a file; TIMESTORE_DEFS names folders that hold DATASET/defs.yaml")
        for path in (folder / "defs.yaml", *sorted(folder.glob("*/defs.yaml"))):
            resolved = path.resolve()
            if path.is_file() and resolved not in seen:
                seen.add(resolved)
                yield path


def read_declaration(path: Path) -> Dataset:
    """The dataset a file declares.

    Raises:
        DeclarationError: naming file, line and key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DeclarationError(f"can't be read: {reason}", file=str(path)) from None
    return parse_declaration(text, file=str(path))


def read_declarations(folders: Iterable[Path]) -> dict[str, Dataset]:
    """Every declared dataset by name.

    Raises:
        DeclarationError: a declaration is wrong, or two declare the same name.
    """
    found: dict[str, tuple[Dataset, Path]] = {}
    for path in declaration_files(folders):
        dataset = read_declaration(path)
        if dataset.name in found:
            other = found[dataset.name][1]
            raise DeclarationError(f"{dataset.name!r} is already declared in {other}; rename one", key="name", file=str(path))
        found[dataset.name] = (dataset, path)
    return {name: dataset for name, (dataset, _) in found.items()}
