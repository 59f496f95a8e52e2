"""The HTTP response that streams an answer: in threads, at the client's pace, and only as long as there is a client."""

from __future__ import annotations

import logging

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from timestore_assets.model.errors import TimestoreError
from timestore_assets.service.answers.computation import Computation
from timestore_assets.service.query.gate import QueryGate

PATIENCE_SECONDS = 60.0
"""How long a client may take none of what waits for it before it counts as gone."""
_log = logging.getLogger(__name__)


class AnswerResponse(Response):
    """Errors up to the first rows become an answer of their own. Later ones end the connection before the answer's end, so that
    no client takes a part for the whole.
    """

    def __init__(self, computation: Computation, gate: QueryGate) -> None:
        super().__init__()
        self._computation, self._gate = computation, gate
        self._started = False

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        failure: TimestoreError | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._stop_without_client, receive, group.cancel_scope)
            try:
                async with self._gate.entered():
                    await self._answer(send)
            except TimestoreError as error:
                failure = error
            group.cancel_scope.cancel()
        if failure is not None and not self._started:
            raise failure
        if failure is not None:
            _log.warning("an answer broke off: %s", failure)

    async def _stop_without_client(self, receive: Receive, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue
        self._computation.interruption.fire()
        scope.cancel()

    async def _answer(self, send: Send) -> None:
        work = self._computation
        try:
            headers = await self._gate.in_thread(work.start)
            raw = [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
            self._started = True
            await send({"type": "http.response.start", "status": 200, "headers": raw})
            while (piece := await self._gate.in_thread(work.next_piece)) is not None:
                with anyio.move_on_after(PATIENCE_SECONDS) as patience:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                if patience.cancelled_caught:
                    return
            # who asks again on reading the end finds the place free
            await self._gate.in_thread(work.close)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            with anyio.CancelScope(shield=True):
                await self._gate.in_thread(work.close)
