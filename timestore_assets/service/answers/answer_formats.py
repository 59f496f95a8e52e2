"""The formats an answer can have, and which of them a client wants."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import Query

from timestore_assets.service.problems import NotAcceptableError


class Format(Enum):
    """A format, by its media type; what a client that doesn't care gets comes first."""

    JSON = "application/json"
    JSON_LINES = "application/x-ndjson"
    CSV = "text/csv"
    ARROW = "application/vnd.apache.arrow.stream"
    PARQUET = "application/vnd.apache.parquet"

    @property
    def content_type(self) -> str:
        return f"{self.value}; charset=utf-8; header=present" if self is Format.CSV else self.value


Formulas = Annotated[
    Literal["keep", "escape"],
    Query(description="For CSV: `escape` puts a `'` before texts that a spreadsheet would compute, such as `=1+1`."),
]
"""Whether an answer is for a spreadsheet."""


def chosen(accept: str | None) -> Format:
    """The format that an `Accept` header (RFC 9110 §12.5.1) prefers; of equal ones the first.

    Raises:
        NotAcceptableError: it takes none of them.
    """
    if accept is None or not accept.strip():
        return Format.JSON
    wishes = [_wish(part) for part in accept.split(",") if part.strip()]
    weights = {one: _weight(one.value, wishes) for one in Format}
    best = max(weights, key=lambda one: weights[one])
    if weights[best] <= 0:
        raise NotAcceptableError(f"an answer can be {', '.join(one.value for one in Format)}; name one of them in Accept")
    return best


def _wish(part: str) -> tuple[str, float]:
    """A media range in lower case and its weight; parameters other than `q` are not told apart."""
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
    try:
        return kind, min(max(float(weight), 0.0), 1.0)
    except ValueError:
        return kind, 0.0


def _weight(media_type: str, wishes: list[tuple[str, float]]) -> float:
    """Of the most specific range that a media type matches; 0 when none does."""
    for matching in (media_type, f"{media_type.split('/')[0]}/*", "*/*"):
        found = [weight for kind, weight in wishes if kind == matching]
        if found:
            return max(found)
    return 0.0


def documented(model: type[Any]) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says about an answer in any of the formats. `model`: of the JSON one."""
    described = {"model": model, "description": "The answer, in the format that `Accept` asks for.", "content": dict(_content())}
    return {HTTPStatus.OK.value: described}


def _content() -> Iterator[tuple[str, Any]]:
    for one in Format:
        if one is not Format.JSON:
            text = one in (Format.JSON_LINES, Format.CSV)
            yield one.value, {"schema": {"type": "string"} if text else {"type": "string", "format": "binary"}}
