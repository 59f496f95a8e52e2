"""Generate `docs/configuration.md` from the settings and `docs/dataset-reference.md` from the declaration's model.

`python scripts/reference.py docs` writes them; a test compares what is in the repository with what this makes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from timestore_assets.model.attributes import (
    ColumnAttributes,
    DatasetAttributes,
    FilesAttributes,
    FlushAttributes,
    HttpAttributes,
    KafkaAttributes,
)
from timestore_assets.settings import Settings

CONFIGURATION = """# Configuration

Every setting is an environment variable; nothing is read from a file. (Generated from `timestore_assets/settings.py`.)

| variable | default | meaning |
|---|---|---|
"""

DATASET = """# Dataset reference

The keys below `attributes:` in a `defs.yaml` whose `type` is `timestore_assets.Dataset`. A wrong key or value is refused when the
declaration is loaded, with file, line, key and what to write instead. (Generated from `timestore_assets/model/attributes.py`.)
"""


def configuration() -> str:
    """The text of docs/configuration.md."""
    rows = [
        f"| `TIMESTORE_{name.upper()}` | {_default(field, name)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return CONFIGURATION + "\n".join(rows) + "\n"


def dataset_reference() -> str:
    """The text of docs/dataset-reference.md."""
    parts = [DATASET, _table("Dataset", DatasetAttributes)]
    parts += [_table("`columns.NAME`", ColumnAttributes), _table("`sources[].files`", FilesAttributes)]
    parts += [_table("`sources[].kafka`", KafkaAttributes), _table("`sources[].kafka.flush`", FlushAttributes)]
    parts.append(_table("`sources[].http`", HttpAttributes))
    for name, field in DatasetAttributes.model_fields.items():
        nested = _nested(field.annotation)
        if nested is not None and name not in ("columns", "sources"):
            parts.append(_table(f"`{name}`", nested))
    return "\n".join(parts)


def _table(title: str, model: type[BaseModel]) -> str:
    lines = [f"## {title}", "", "| key | default | meaning |", "|---|---|---|"]
    lines += [f"| `{field.alias or name}` | {_default(field, name)} | {_meaning(field)} |" for name, field in _fields(model)]
    return "\n".join(lines) + "\n"


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    yield from model.model_fields.items()


def _meaning(field: FieldInfo) -> str:
    choices = [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
    text = field.description or "See below."
    return f"{text} One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else text


def _default(field: FieldInfo, name: str) -> str:
    if name == "home":
        return "`.timestore`"
    if field.is_required():
        return "required"
    if field.default is PydanticUndefined or field.default in (None, "", [], False):
        return "`false`" if field.default is False else "–"
    value: Any = field.default
    return f"`{_duration(value) if isinstance(value, timedelta) else value}`"


def _duration(value: timedelta) -> str:
    seconds = int(value.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _nested(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _nested(part)) is not None), None)


def main(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "configuration.md").write_text(configuration())
    (folder / "dataset-reference.md").write_text(dataset_reference())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
