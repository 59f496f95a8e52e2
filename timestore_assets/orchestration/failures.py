"""What Dagster should do about an error of ours: try again, or not."""

from __future__ import annotations

import dagster as dg

from timestore_assets.model.errors import ConflictError, TimestoreError, UnavailableError, UnknownOutcomeError

_PASSING = (ConflictError, UnavailableError, UnknownOutcomeError)


def as_failure(errors: list[TimestoreError], *, doing: str) -> dg.Failure:
    """One failure for the errors of a step; retried only if every one of them may pass by itself."""
    first = str(errors[0])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return dg.Failure(
        description=f"{doing}: {first}{more}",
        allow_retries=all(isinstance(error, _PASSING) for error in errors),
        metadata={"errors": [str(error) for error in errors[:20]]},
    )
