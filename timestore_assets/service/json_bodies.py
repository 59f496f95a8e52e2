"""JSON bodies of small requests: bounded, read after the caller is known, and refused with a sentence when they are wrong.

Names are in camelCase, unknown keys are refused.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from anyio import to_thread
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from timestore_assets.model.errors import InputError
from timestore_assets.service.problems import TooLargeError, UnsupportedMediaError


class Wire(BaseModel):
    """A frozen value; made by its Python names, read and written by those of the wire."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


MOST_BYTES = 1_000_000
MOST_VALUES = 150_000
"""Values of a body, told by what stands between them before it is parsed; commas of its texts count too."""
MOST_DEPTH = 64
_SMALL_BYTES = 32_000
"""A body of up to so many bytes is read sooner than another thread would begin with it."""
ERRORS = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, HTTPStatus.UNPROCESSABLE_ENTITY)
"""What a route with such a body answers beside its own errors."""

Plain = bool | int | float | str
"""A truth value, a number or a text, as JSON has them."""

M = TypeVar("M", bound=BaseModel)


def json_body(model: type[M]) -> Callable[[Request], Awaitable[M]]:
    """A dependency that reads a body as this model. Name it after the caller, so that nobody unknown is read from.

    FastAPI's own way reads the body before anything else, whoever sends it and however long it is.

    Raises (the dependency):
        TooLargeError, UnsupportedMediaError: it is too long, or not called JSON.
        InputError, RequestValidationError: it is no JSON, or not of this form.
    """

    def validated(body: bytes) -> M:
        value = parse(body)
        try:
            return model.model_validate(value)
        except ValidationError as error:
            found = error.errors(include_input=False, include_url=False)
            raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found]) from None

    async def read(request: Request) -> M:
        body = await _bytes(request)
        return validated(body) if len(body) <= _SMALL_BYTES else await to_thread.run_sync(validated, body)

    return read


def described(model: type[BaseModel], example: Any) -> dict[str, Any]:
    """What OpenAPI says of such a body, for a route's `openapi_extra`."""
    schema = model.model_json_schema(by_alias=True)
    content = {"application/json": {"schema": _inlined(schema, schema.pop("$defs", {})), "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """A schema with its definitions in their places: inside an OpenAPI document its own references would lead nowhere."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        named = definitions[schema["$ref"].rpartition("/")[2]]
        schema = {**named, **{key: value for key, value in schema.items() if key != "$ref"}}
    return {key: _inlined(value, definitions) for key, value in schema.items()}


def parse(body: bytes) -> Any:
    """The value of JSON text, strictly: no key twice, no NaN, no number beyond a float's, no text that isn't Unicode.

    Raises:
        InputError: it is not such text, or holds more values, or values more deeply within each other, than anybody means.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MOST_VALUES:
        raise InputError(f"body: holds more than {MOST_VALUES:,} values")
    try:
        value = json.loads(body, object_pairs_hook=_unique, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        why = f": {error}" if isinstance(error, _JsonError | json.JSONDecodeError) else ""
        raise InputError(f"body: is not valid JSON{why}") from None
    if body.count(b"[") + body.count(b"{") > MOST_DEPTH and _depth(value) > MOST_DEPTH:
        raise InputError(f"body: has more than {MOST_DEPTH} lists or objects within each other")
    return value


def _depth(value: Any) -> int:
    """How many lists and objects are within each other."""
    most, left = 0, [(value, 1)]
    while left:
        current, depth = left.pop()
        if isinstance(current, dict | list):
            most = max(most, depth)
            left.extend((one, depth + 1) for one in (current.values() if isinstance(current, dict) else current))
    return most


async def _bytes(request: Request) -> bytes:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().casefold()
    if kind != "application/json":
        raise UnsupportedMediaError("send the body as application/json")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise TooLargeError(f"the body is longer than {MOST_BYTES:,} bytes")
    return bytes(body)


class _JsonError(ValueError):
    """Valid for Python's parser, but not meant by anybody."""


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _JsonError(f"the key {key[:60]!r} is written twice")
        found[key] = value
    return found


def _refuse(name: str) -> Any:
    raise _JsonError(f"{name} is no JSON value")
