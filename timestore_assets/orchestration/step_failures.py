"""What Dagster should do about an error of ours: try again, or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from timestore_assets.model.errors import ConflictError, TimestoreError, UnavailableError, UnknownOutcomeError

_PASSING = (ConflictError, UnavailableError, UnknownOutcomeError)


@contextmanager
def failing(doing: str) -> Iterator[None]:
    """Turn an error of ours into Dagster's failure, whose message is one sentence."""
    try:
        yield
    except TimestoreError as error:
        raise as_failure([error], doing=doing) from error


def as_failure(errors: list[TimestoreError], *, doing: str) -> dg.Failure:
    """One failure for the errors of a step; retried only if every one of them may pass by itself."""
    first = str(errors[0])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return dg.Failure(
        description=f"{doing}: {first}{more}",
        allow_retries=all(isinstance(error, _PASSING) for error in errors),
        metadata={"errors": [str(error) for error in errors[:20]]},
    )
