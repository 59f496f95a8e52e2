"""Paths as declarations write them: to a field of a record, and to the array of records in a document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from timestore_assets.declaration.attributes import FilesAttributes, HttpAttributes
from timestore_assets.model.dataset import Source
from timestore_assets.model.errors import DeclarationError
from timestore_assets.model.field_path import FieldPath, Step
from timestore_assets.model.record_form import RecordForm
from timestore_assets.model.schema import Schema

_STEP = re.compile(r"""\.([^.\[\]'"*]+)|\['([^']+)'\]|\["([^"]+)"\]|\[(\d{1,6})\]""")
_DEEPEST = 32


def field_path(column: str, text: str, key: str) -> FieldPath:
    """Where a column's values are in a record.

    Raises:
        DeclarationError: the text is no path.
    """
    steps = _steps(text)
    if not steps or isinstance(steps[0], int) or len(steps) > _DEEPEST:
        raise DeclarationError(
            f"is {text!r}; write names with points between them, for instance properties.time, a place in an array as [0], "
            "or ['a.b'] for a name with a point",
            key=key,
        )
    return FieldPath(column=column, steps=steps)


def fields_of_source(fields: Mapping[str, str], schema: Schema, key: str) -> tuple[FieldPath, ...]:
    """Where a source says that values are; errors as `field_path`."""
    for name in fields:
        if schema.find(name) is None:
            columns = ", ".join(schema.names)
            raise DeclarationError(f"{name!r} is not a declared column; the columns are {columns}", key=f"{key}.{name}")
    return tuple(field_path(name, text, f"{key}.{name}") for name, text in fields.items())


def with_fields(source: Source, fields: Iterable[FieldPath], key: str) -> Source:
    """The source, with where columns say that their values are, unless it says so itself.

    Raises:
        DeclarationError: two columns, or a column and a time that is made of several fields, can't both be meant.
    """
    found = {path.column: path for path in (*fields, *source.form.fields)}
    kept = tuple(path for path in found.values() if path.steps != (path.column,))
    form = replace(source.form, fields=kept)
    _refuse_made_twice(form, key)
    return replace(source, form=form)


def _refuse_made_twice(form: RecordForm, key: str) -> None:
    for path in form.fields:
        time = form.time_of(path.column)
        if time is not None and time.columns:
            raise DeclarationError(
                f"column {path.column!r} is from {path.text} and made of {', '.join(time.columns)}; leave out one of them",
                key=f"{key}.times.{path.column}.columns",
            )


def json_path(attributes: FilesAttributes | HttpAttributes, key: str) -> tuple[str, ...]:
    """Names of the members that lead to the array of records, `$.data.readings[*]` being `data` and `readings`; errors as
    `field_path`."""
    text = attributes.path
    if text is None:
        return ()
    if isinstance(attributes, FilesAttributes) and attributes.format not in ("auto", "json"):
        raise DeclarationError(f"is of JSON documents, and the format is {attributes.format}", key=f"{key}.path")
    inner = text.strip().removeprefix("$").removesuffix("[*]")
    steps = _steps(inner) if inner else ()
    names = tuple(step for step in steps or () if isinstance(step, str))
    if steps is None or len(names) < len(steps):
        raise DeclarationError(
            f"is {text!r}; write names with points between them, for instance data.readings[*], or ['a.b'] for one with a point; "
            "one [*], at the end",
            key=f"{key}.path",
        )
    return names


def _steps(text: str) -> tuple[Step, ...] | None:
    """The steps of a path, None when it is none."""
    text = text.strip().removeprefix("$")
    text = text if text.startswith(("[", ".")) else f".{text}"
    found = list(_STEP.finditer(text))
    if "".join(match[0] for match in found) != text:
        return None
    return tuple(int(match[4]) if match[4] is not None else match[1] or match[2] or match[3] for match in found)
