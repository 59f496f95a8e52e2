"""Turn pydantic's findings about a declaration into one sentence that says what to write instead."""

from __future__ import annotations

import difflib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from timestore_assets.model.errors import DeclarationError

_WRITE = {
    "dict_type": "write a mapping of keys to values",
    "model_type": "write a mapping of keys to values",
    "string_type": "write text (quote it if it looks like a number)",
    "list_type": "write a list, for instance [a, b]",
}


def explain(error: ValidationError, model: type[BaseModel]) -> DeclarationError:
    """The first finding as an error with its dotted key; how many others there are is said at its end."""
    findings = [finding for finding in error.errors() if not _is_shadow(finding, error)]
    # a misspelt key also leaves the right one missing: name the misspelling
    findings.sort(key=lambda found: found["type"] != "extra_forbidden")
    finding = findings[0]
    path = tuple(str(part) for part in finding["loc"] if part not in ("ColumnAttributes", "str"))
    more = len({tuple(other["loc"]) for other in findings}) - 1
    suffix = f" (and {more} more)" if more else ""
    return DeclarationError(_sentence(finding, path, model) + suffix, key=".".join(path))


def _is_shadow(finding: Any, error: ValidationError) -> bool:
    """A mapping that failed as a column also fails as the short form; only the first says something."""
    if finding["loc"][-1] != "str":
        return False
    return any(other["loc"][:-1] != finding["loc"][:-1] or "ColumnAttributes" in other["loc"] for other in error.errors())


def _sentence(finding: Any, path: tuple[str, ...], model: type[BaseModel]) -> str:
    kind, context = finding["type"], finding.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(path, model)
    if kind == "missing":
        field = _fields(path[:-1], model).get(path[-1])
        return f"is missing; {field.description}" if field is not None and field.description else "is missing"
    if kind in ("literal_error", "enum"):
        return f"is {finding['input']!r}; write {context.get('expected')}"
    if kind in ("dict_type", "model_type", "string_type", "list_type"):
        return f"is {finding['input']!r}; {_WRITE[kind]}"
    if kind == "value_error":
        return f"is {finding['input']!r}; {context.get('error')}"
    return f"is {finding['input']!r}; {finding['msg'][:1].lower()}{finding['msg'][1:]}"


def _unknown_key(path: tuple[str, ...], model: type[BaseModel]) -> str:
    known = sorted(_fields(path[:-1], model))
    close = difflib.get_close_matches(path[-1], known, n=1)
    return f"is not a key here; did you mean {close[0]!r}?" if close else f"is not a key here; the keys are {', '.join(known)}"


def _fields(path: tuple[str, ...], model: type[BaseModel]) -> dict[str, Any]:
    """Fields, by the name they are written with, of the model that a key path leads to."""
    for part in path:
        found = {field.alias or name: field for name, field in model.model_fields.items()}.get(part)
        if found is not None:
            model = _model_in(found.annotation) or model
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for argument in get_args(annotation) if (model := _model_in(argument))), None)
