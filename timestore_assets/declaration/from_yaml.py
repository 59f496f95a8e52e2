"""From YAML to a `Dataset`: the one place where a declaration's text is parsed and its mistakes are explained.

pydantic's findings become one sentence that says what to write instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, assert_never, get_args

import yaml
from pydantic import BaseModel, ValidationError

from timestore_assets.declaration.attributes import DatasetAttributes
from timestore_assets.declaration.from_attributes import to_dataset
from timestore_assets.model.allowances import Allowances
from timestore_assets.model.dataset import Dataset, FileSource, HttpSource, KafkaSource, Source
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


COMPONENT_TYPE = "timestore_assets.Dataset"
_MOST_COLUMNS = 1_000
_MOST_DEPTH = 100
_MOST_NODES = 1_000_000
# libyaml's, where it was built in, is ten times as fast, and each command begins with reading declarations
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_declaration(text: str, *, file: str = "") -> Dataset:
    """The dataset that the text of a `defs.yaml` declares.

    Raises:
        DeclarationError: with file, line, key, and what to write instead.
    """
    documents = list(_read(text, file))
    if len(documents) > 1:
        line = documents[1][0].start_mark.line + 1
        raise DeclarationError("a file declares one dataset; move what follows `---` into one of its own", file=file, line=line)
    return _declared(*documents[0], file) if documents else _declared(None, None, file)


def read_mapping(text: str, *, file: str = "", what: str) -> tuple[dict[str, Any], dict[str, int]]:
    """The one mapping that another text of people's holds, and the line of each dotted key. `what`: how errors call the text.

    Raises:
        DeclarationError: with file and line: it is no YAML, or something other than one mapping.
    """
    documents = list(_read(text, file))
    if len(documents) != 1 or not isinstance(documents[0][1], dict):
        raise DeclarationError(f"{what} is one mapping of keys to values", file=file, line=1 if file else None)
    root, plain = documents[0]
    return plain, {".".join(path): line for path, line in _lines(root).items()}


def parse_project_file(text: str, *, file: str = "") -> list[Dataset]:
    """The datasets among the components of a Dagster project's `defs.yaml`, which may hold several of any type.

    Raises:
        DeclarationError: as `parse_declaration`, about datasets alone. What is wrong with another component, or keeps the file
            from being read as YAML, is for Dagster to say.
    """
    if COMPONENT_TYPE not in text:
        return []
    documents = (found for found in _read(text, file) if isinstance(found[1], dict) and found[1].get("type") == COMPONENT_TYPE)
    return [_declared(root, document, file) for root, document in documents]


def _declared(root: yaml.Node | None, document: Any, file: str) -> Dataset:
    try:
        if not isinstance(document, dict):
            raise DeclarationError(f"a declaration is a mapping with `type: {COMPONENT_TYPE}` and `attributes:`")
        _check_frame(document)
        return dataset_from_attributes(document["attributes"])
    except DeclarationError as error:
        raise error.located(file=file, line=_line_of(error.key, _lines(root))) from None


def dataset_from_attributes(attributes: Mapping[str, Any]) -> Dataset:
    """The dataset that the `attributes` of a declaration describe.

    Raises:
        DeclarationError: with the key inside `attributes`, but without file and line.
    """
    try:
        parsed = DatasetAttributes.model_validate(dict(attributes))
    except ValidationError as error:
        raise explain(error, DatasetAttributes) from None
    return to_dataset(parsed)


def dataset_over_http(name: str, attributes: Mapping[str, Any], *, allowed: Allowances) -> Dataset:
    """The dataset that attributes sent by a program describe, who must not reach further than into this warehouse.

    Args:
        allowed: folders, topics, consumer groups and storage targets that it may name.

    Raises:
        DeclarationError: as `dataset_from_attributes`, or for what only a file may declare: a pandera model (it is code),
            brokers other than the deployment's (they would get its credentials), very many columns, keys of other assets,
            what is not allowed.
    """
    if attributes.get("name", name) != name:
        raise DeclarationError(f"is not {name!r}, the name in the address; leave it out or write the same", key="name")
    if "schema" in attributes:
        raise DeclarationError("names code, which only a file may declare; write `columns` instead", key="schema")
    dataset = dataset_from_attributes({**attributes, "name": name})
    for key in ("key_prefix", "deps"):  # a key that is taken, or a circle, would stop all datasets of the code location
        if getattr(dataset, key):
            raise DeclarationError("can only be declared in a file; leave it out", key=key)
    if len(dataset.schema.columns) > _MOST_COLUMNS:
        raise DeclarationError(f"are more than {_MOST_COLUMNS:,}, which only a file may declare", key="columns")
    for i, source in enumerate(dataset.sources):
        _check_source_over_http(source, f"sources.{i}.{source.kind}")
    allowed.check(dataset)
    return dataset


def _check_source_over_http(source: Source, key: str) -> None:
    match source:
        case FileSource():
            if not source.prefix.isprintable():
                raise DeclarationError("has characters that can't be printed", key=f"{key}.prefix")
        case KafkaSource():
            if source.bootstrap_servers is not None:
                wrong = "can only be declared in a file; leave it out for the deployment's brokers"
                raise DeclarationError(wrong, key=f"{key}.bootstrap_servers")
        case HttpSource():
            pass
        case _:
            assert_never(source)


def _check_frame(document: Mapping[Any, Any]) -> None:
    if document.get("type") != COMPONENT_TYPE:
        raise DeclarationError(f"is {document.get('type')!r}; write `type: {COMPONENT_TYPE}`", key="type")
    if not isinstance(document.get("attributes"), dict):
        raise DeclarationError("is missing; the dataset's keys (name, columns, time, …) go below it", key="attributes")
    allowed = {"type", "attributes", "template_vars_module", "requirements", "post_processing"}
    for key in document:
        if key not in allowed:
            raise DeclarationError("is not known beside `type` and `attributes`; indent it below `attributes:`", key=str(key))


def _read(text: str, file: str) -> Iterator[tuple[yaml.Node, Any]]:
    """Each document as written, and its plain values."""
    loader = _Loader(text)
    try:
        while loader.check_node():
            root = loader.get_node()
            _check_size(root)
            _check_keys(root)
            yield root, _values(loader, root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise DeclarationError(f"is not valid YAML: {error.problem}", file=file, line=line) from None
    except yaml.YAMLError as error:
        raise DeclarationError(f"is not valid YAML: {error}", file=file) from None
    except RecursionError:
        raise DeclarationError("is nested too deeply", file=file) from None
    finally:
        loader.dispose()


def _values(loader: Any, root: yaml.Node) -> Any:
    """The plain values of a document; what a value is by its look, and can't be, is told with its line."""
    try:
        return loader.construct_document(root)
    except (yaml.YAMLError, RecursionError):
        raise
    except Exception:  # a date like 2024-02-30 is a ValueError of Python's, and other tags have others
        loader.recursive_objects.clear()  # what was under way counts as leading into itself
        for node in _scalars(root):
            try:
                loader.construct_object(node)
            except Exception as error:
                shown = f"{node.value[:60]!r} is no value of the kind that it looks like; put it in quotes if it is a text"
                why = f" ({error})" if isinstance(error, ValueError) else ""
                raise yaml.constructor.ConstructorError(None, None, shown + why, node.start_mark) from None
        raise


def _scalars(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    for item in _inner(node):
        yield from _scalars(item)


def _inner(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _check_size(root: yaml.Node | None) -> None:
    """Refuse aliases that lead into themselves or make a short text a huge document, before anything follows them."""
    level, size = [] if root is None else [root], 0
    for _ in range(_MOST_DEPTH):
        size += len(level)
        if size > _MOST_NODES:
            raise yaml.YAMLError(f"it comes to more than {_MOST_NODES:,} values once its aliases are followed")
        level = [item for node in level for item in _inner(node)]
        if not level:
            return
    raise yaml.YAMLError(f"it is nested more than {_MOST_DEPTH} levels deep, or an alias leads into itself")


def _check_keys(node: yaml.Node | None) -> None:
    """Refuse a key that is written twice, which YAML loaders otherwise let the last one win."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.composer.ComposerError(None, None, f"the key {key.value!r} is written twice", key.start_mark)
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
            _check_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item)


def _lines(node: yaml.Node | None, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
    """Line (1-based) of every key path of the document."""
    found: dict[tuple[str, ...], int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            found[here] = key.start_mark.line + 1
            found |= _lines(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            here = (*path, str(i))
            found[here] = item.start_mark.line + 1
            found |= _lines(item, here)
    return found


def _line_of(key: str, lines: Mapping[tuple[str, ...], int]) -> int | None:
    """The line of a dotted key, or of its nearest parent that is written."""
    path = tuple(key.split(".")) if key else ()
    for candidate in (path, ("attributes", *path)):
        if candidate in lines:
            return lines[candidate]
    path = ("attributes", *path)
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)
