"""From YAML to a `Dataset`: the one place where a declaration's text is parsed and its mistakes are explained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from timestore_assets.model.attributes import DatasetAttributes
from timestore_assets.model.dataset import Dataset, FileSource, KafkaSource
from timestore_assets.model.declared import to_dataset
from timestore_assets.model.errors import DeclarationError
from timestore_assets.model.explain import explain

COMPONENT_TYPE = "timestore_assets.Dataset"
_INBOX = "inbox/"
_MOST_COLUMNS = 1_000
# libyaml's, where it was built in, is ten times as fast, and each command begins with reading declarations
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_declaration(text: str, *, file: str = "") -> Dataset:
    """The dataset that the text of a `defs.yaml` declares.

    Raises:
        DeclarationError: with file, line, key, and what to write instead.
    """
    root, document = _read(text, file)
    lines = _lines(root)
    try:
        if not isinstance(document, dict):
            raise DeclarationError(f"a declaration is a mapping with `type: {COMPONENT_TYPE}` and `attributes:`")
        _check_frame(document)
        return dataset_from_attributes(document["attributes"])
    except DeclarationError as error:
        raise error.located(file=file, line=_line_of(error.key, lines)) from None


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


def dataset_over_http(name: str, attributes: Mapping[str, Any]) -> Dataset:
    """The dataset that attributes sent by a program describe, who must not reach further than into this warehouse.

    Raises:
        DeclarationError: as `dataset_from_attributes`, or for what only a file may declare: a pandera model (it is code), a
            folder outside `inbox/`, brokers other than the deployment's (they would get its credentials), very many columns.
    """
    if attributes.get("name", name) != name:
        raise DeclarationError(f"is not {name!r}, the name in the address; leave it out or write the same", key="name")
    if "schema" in attributes:
        raise DeclarationError("names code, which only a file may declare; write `columns` instead", key="schema")
    dataset = dataset_from_attributes({**attributes, "name": name})
    if len(dataset.schema.columns) > _MOST_COLUMNS:
        raise DeclarationError(f"are more than {_MOST_COLUMNS:,}, which only a file may declare", key="columns")
    for i, source in enumerate(dataset.sources):
        if isinstance(source, FileSource) and not (source.prefix.startswith(_INBOX) and source.prefix.isprintable()):
            key = f"sources.{i}.files.prefix"
            raise DeclarationError(f"must begin with {_INBOX}, since only a file may declare another folder", key=key)
        if isinstance(source, KafkaSource) and source.bootstrap_servers is not None:
            key = f"sources.{i}.kafka.bootstrap_servers"
            raise DeclarationError("can only be declared in a file; leave it out for the deployment's brokers", key=key)
    return dataset


def _check_frame(document: Mapping[Any, Any]) -> None:
    if document.get("type") != COMPONENT_TYPE:
        raise DeclarationError(f"is {document.get('type')!r}; write `type: {COMPONENT_TYPE}`", key="type")
    if not isinstance(document.get("attributes"), dict):
        raise DeclarationError("is missing; the dataset's keys (name, columns, time, …) go below it", key="attributes")
    allowed = {"type", "attributes", "template_vars_module", "requirements", "post_processing"}
    for key in document:
        if key not in allowed:
            raise DeclarationError("is not known beside `type` and `attributes`; indent it below `attributes:`", key=str(key))


def _read(text: str, file: str) -> tuple[yaml.Node | None, Any]:
    """The document as written, and its plain values."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        _check_keys(root)
        return root, None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise DeclarationError(f"is not valid YAML: {error.problem}", file=file, line=line) from None
    except yaml.YAMLError as error:
        raise DeclarationError(f"is not valid YAML: {error}", file=file) from None
    finally:
        loader.dispose()


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
