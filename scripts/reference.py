"""Generate pages of the docs: `configuration.md` from the settings, `dataset-reference.md` from the declaration's model,
`command-line-reference.md` from the commands.

`python scripts/reference.py docs` writes them; a test compares what is in the repository with what this makes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.core import TyperArgument, TyperGroup
from typer.main import get_command

from timestore_assets.cli.main import app
from timestore_assets.declaration.alert_list import AlertAttributes
from timestore_assets.declaration.attributes import (
    ColumnAttributes,
    DatasetAttributes,
    FilesAttributes,
    FlushAttributes,
    HttpAttributes,
    KafkaAttributes,
    TierAttributes,
    TimeAttributes,
)
from timestore_assets.settings import Settings

CONFIGURATION = """# Configuration

Every setting is an environment variable; nothing is read from a file. (Generated from `timestore_assets/settings.py`.)

| variable | default | meaning |
|---|---|---|
"""

DATASET = """# Dataset reference

The keys below `attributes:` in a `defs.yaml` whose `type` is `timestore_assets.Dataset`. A wrong key or value is refused when the
declaration is loaded, with file, line, key and what to write instead.
(Generated from `timestore_assets/declaration/attributes.py`.)
"""

COMMANDS = """# Command line

Every command takes `--help`, and `--json` where a program could read the answer. Exit codes: 0 done, 2 bad usage or input,
3 refused, 1 unexpected. (Generated from `timestore_assets/cli/`.)
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
    parts.append(_table("`sources[].….times.COLUMN`", TimeAttributes))
    parts += [_table("`sources[].kafka`", KafkaAttributes), _table("`sources[].kafka.flush`", FlushAttributes)]
    parts.append(_table("`sources[].http`", HttpAttributes))
    parts.append(_table("`alerts[]`", AlertAttributes))
    for name, field in DatasetAttributes.model_fields.items():
        nested = _nested(field.annotation)
        if nested is not None and name not in ("columns", "sources", "alerts"):
            parts.append(_table(f"`{name}`", nested))
        if name == "retention":
            parts.append(_table("`retention.tier[]`", TierAttributes))
    return "\n".join(parts)


def command_line() -> str:
    """The text of docs/command-line-reference.md."""
    return "\n".join([COMMANDS, *_commands(get_command(app), "timestore")])


def _commands(command: Any, path: str) -> Iterator[str]:
    if isinstance(command, TyperGroup):
        for name, under in sorted(command.commands.items()):
            if not under.hidden:
                yield from _commands(under, f"{path} {name}")
        return
    arguments = " ".join(f"[{_upper(one)}]" if not one.required else _upper(one) for one in command.params if _is_argument(one))
    yield f"## {path}\n\n```\n{path} [OPTIONS] {arguments}".rstrip() + "\n```\n"
    yield f"{_plain(command.help or '')}\n"
    rows = [f"| {_spelling(parameter)} | {_meant(parameter)} |" for parameter in command.params if parameter.name != "help"]
    if rows:
        yield "\n".join(["| argument or option | meaning |", "|---|---|", *rows]) + "\n"


def _is_argument(parameter: Any) -> bool:
    return isinstance(parameter, TyperArgument)


def _upper(argument: Any) -> str:
    return f"{(argument.metavar or argument.name).upper()}{'...' if argument.nargs == -1 else ''}"


def _spelling(parameter: Any) -> str:
    if _is_argument(parameter):
        return f"`{_upper(parameter)}`"
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def _meant(parameter: Any) -> str:
    return _plain(parameter.help or "").replace("\n", " ").replace("|", "\\|")


def _plain(text: str) -> str:
    """Help without the marks that rich and click read."""
    return re.sub(r"\[/?(?:bold|dim|italic|cyan|green|yellow)\]", "", text.replace("\b\n", "")).strip()


def _table(title: str, model: type[BaseModel]) -> str:
    lines = [f"## {title}", "", "| key | default | meaning |", "|---|---|---|"]
    lines += [f"| `{field.alias or name}` | {_default(field, name)} | {_meaning(field)} |" for name, field in _fields(model)]
    return "\n".join(lines) + "\n"


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """What only this kind has comes first, then what it shares with others."""
    kinds = [vars(kind).get("__annotations__", {}) for kind in model.__mro__]
    yield from sorted(model.model_fields.items(), key=lambda named: next(i for i, own in enumerate(kinds) if named[0] in own))


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
    (folder / "command-line-reference.md").write_text(command_line())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
