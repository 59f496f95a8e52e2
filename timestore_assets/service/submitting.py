"""From a body that has been taken apart to the answer about its records, whichever way they came."""

from __future__ import annotations

import asyncio
import math
from secrets import token_hex

from timestore_assets.landing.requests.ingest import GroupLanders
from timestore_assets.landing.requests.request_queue import BufferFullError
from timestore_assets.landing.requests.submission import Answer, KeyReusedError, Submission
from timestore_assets.model.dataset import Dataset, HttpSource
from timestore_assets.model.errors import RefusedError
from timestore_assets.service.problems import ReusedKeyError, TooManyRequestsError
from timestore_assets.sources.http.request_body import RequestBody
from timestore_assets.tracing import here


def source_of(dataset: Dataset) -> HttpSource:
    """The source that requests go to; RefusedError when the dataset takes none."""
    source = dataset.http_source
    if source is None:
        raise RefusedError(f"dataset {dataset.name!r} takes no records over HTTP; add `- http: {{}}` to its `sources`")
    return source


async def submitted(
    landers: GroupLanders, dataset: Dataset, body: RequestBody, *, actor: str, key: str | None, asynchronous: bool = False
) -> Answer:
    """Let a body wait for its commit; its answer once it is durable, or taken if it is `asynchronous`.

    Raises:
        TooManyRequestsError: too much waits already. ReusedKeyError: the key is of other content.
        What else `GroupLanders.submit` raises or its future gives comes as it is.
    """
    submission = Submission(id=token_hex(16), body=body, actor=actor, key=key, asynchronous=asynchronous, place=here())
    try:
        return await asyncio.wrap_future(landers.submit(dataset, source_of(dataset), submission))
    except BufferFullError as error:
        raise TooManyRequestsError(str(error), retry_after=math.ceil(error.retry_after)) from None
    except KeyReusedError as error:
        raise ReusedKeyError(str(error)) from None
