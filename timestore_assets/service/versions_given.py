"""Versions of datasets as request bodies name them: a number, a time or a tag, for SQL also one for each dataset by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from timestore_assets.model.as_of import AsOfEach, parse_as_of_each

VersionGiven = Annotated[int, Field(strict=True, ge=0, le=2**53)] | Annotated[str, Field(min_length=1)]
_Name = Annotated[str, Field(min_length=1, max_length=255)]
VersionsGiven = VersionGiven | Annotated[Mapping[_Name, VersionGiven], Field(min_length=1, max_length=1_000)]

SqlVersions = Annotated[
    VersionsGiven | None,
    Field(
        description="The versions to answer from, the newest by default: a time or a tag for all datasets that are read, the "
        "number of one's version where that is the only one, or any of these by name; what is not named is read as it is now.",
        examples=["2024-05-01T12:00:00Z", 17, {"power": 17, "rooms": "before-cleaning"}],
    ),
]
"""`asOf` of what runs SQL."""


def meant_by(given: VersionsGiven | None) -> AsOfEach | None:
    """What a body means, None for the newest versions; InputError when it is no version, time or tag."""
    return None if given is None else parse_as_of_each(given)
