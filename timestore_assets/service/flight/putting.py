"""`DoPut`: values for a prepared statement, and records that are landed as those of `POST /datasets/{name}/ingest` are.

What comes in is put together as an Arrow stream without being decoded, and judged as a body. Within the limits of a body a
stream is one submission, all or nothing. A longer one is landed in pieces of whole messages, each acknowledged before more is
read, so that gRPC holds the client back; they go under KEY, KEY/1, KEY/2, …
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing
from functools import partial
from http import HTTPStatus
from typing import Any

from anyio import to_thread

from timestore_assets.landing.requests.submission import Landed
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError
from timestore_assets.querying.sql.check import SCHEMA
from timestore_assets.service.body_intake import Intake
from timestore_assets.service.flight import calls
from timestore_assets.service.flight.calls import AS_OF, Call, StoppedError, UnsupportedError
from timestore_assets.service.flight.flight_data import ipc_message, ipc_stream
from timestore_assets.service.flight.flight_messages import make, read, unpacked
from timestore_assets.service.flight.handles import MOST_BYTES, Handle
from timestore_assets.service.flight.statements import Statements
from timestore_assets.service.problems import ServiceError, TooLargeError, UnknownResourceError
from timestore_assets.service.state import Service
from timestore_assets.service.submitting import source_of, submitted
from timestore_assets.sources.http.arrow_body import MessageFacts, arrow_body, message_facts
from timestore_assets.sources.http.request_body import BodyLimits, RequestBody, TooManyBytesError, TooManyRowsError

LONGEST_KEY = 190
"""Characters, which leaves room for the number of a piece."""
_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_CREATE, _FAIL, _REPLACE = 1, 1, 3
_TEMPORARY = "there are no temporary tables here; ingest into a declared dataset"


class ExistsError(ServiceError):
    """What was to be made is there already."""

    status, code = HTTPStatus.CONFLICT, "exists"


class Putting:
    """What takes streams."""

    def __init__(self, service: Service, statements: Statements) -> None:
        self._service, self._statements = service, statements

    async def put(self, call: Call, sent: AsyncIterator[bytes]) -> None:
        """Errors as the command's; UnsupportedError for one that is not offered, InputError for none."""
        sent = _whole(call, sent)
        first = await anext(sent, None)
        if first is None:  # how ADBC sends no rows
            await _answer(call, make("DoPutUpdateResult", record_count=0))
            return
        message = read("FlightData", first)
        call.command, asked = unpacked(message.flight_descriptor.cmd)
        messages = _messages(message, sent)
        if call.command == "CommandPreparedStatementQuery":
            await self._bind(call, Handle.read(asked.prepared_statement_handle), messages)
        elif call.command == "CommandStatementIngest":
            await self._ingest(call, asked, messages)
        else:
            raise UnsupportedError(
                "SQL only reads here; records come by an ingest (ADBC: adbc_ingest(name, rows, mode='append'))"
            )

    async def _bind(self, call: Call, handle: Handle, messages: AsyncIterator[Any]) -> None:
        parts, size = list[bytes](), 0
        async for message in messages:
            size += len(message.data_header) + len(message.data_body)
            if size > MOST_BYTES:
                raise InputError(f"the parameters have more than {MOST_BYTES:,} bytes")
            if message.data_header:
                parts.append(ipc_message(message.data_header, message.data_body))
        found = await self._statements.described(call, handle, None)
        bound = handle.bound(ipc_stream(parts), list(found.samples))
        await _answer(call, make("DoPutPreparedStatementResult", prepared_statement_handle=bound.written()))

    async def _ingest(self, call: Call, asked: Any, messages: AsyncIterator[Any]) -> None:
        if call.as_of is not None:
            raise InputError(f"records land in what is now; leave the header {AS_OF} out of an ingest")
        dataset = self._target(call, asked)
        key = call.headers.get("idempotency-key")
        if key is not None and (len(key) > LONGEST_KEY or not _KEY.fullmatch(key)):
            raise InputError(f"the header idempotency-key has 1 to {LONGEST_KEY} printable ASCII characters")
        number = records = letters = 0
        async with aclosing(_pieces(messages, self._service.intake)) as pieces:
            async for piece in pieces:
                landed = await self._landed(call, dataset, piece, key if key is None or not number else f"{key}/{number}")
                number += 1
                records += landed.outcome.read - landed.outcome.dead_letters
                letters += landed.outcome.dead_letters
                call.rows = records
                call.trailers.append(("timestore-ingestion-id", landed.id))
                call.trailers = call.trailers[-_SHOWN_IDS:]
        call.trailers.append(("timestore-dead-letters", str(letters)))
        await _answer(call, make("DoPutUpdateResult", record_count=records))

    async def _landed(self, call: Call, dataset: Dataset, stream: bytes, key: str | None) -> Landed:
        body = await to_thread.run_sync(partial(self._taken_apart, stream, dataset), limiter=self._service.intake.limiter)
        answer = await submitted(self._service.landers, dataset, body, actor=call.caller.name, key=key)
        assert isinstance(answer, Landed)  # noqa: S101 - only an asynchronous one is accepted before
        return answer

    def _taken_apart(self, stream: bytes, dataset: Dataset) -> RequestBody:
        intake = self._service.intake
        limits = BodyLimits(bytes=intake.body_bytes, rows=intake.rows, record_bytes=source_of(dataset).max_record_bytes)
        try:
            return arrow_body(stream, limits=limits)
        except TooManyBytesError:
            raise TooLargeError(f"a batch is longer than {limits.bytes:,} bytes, decoded; send smaller ones") from None
        except TooManyRowsError:
            raise TooLargeError(f"a batch holds more than {limits.rows:,} records; send smaller ones") from None

    def _target(self, call: Call, asked: Any) -> Dataset:
        """The dataset that an ingest goes to, if it may and does nothing but append."""
        if asked.HasField("transaction_id"):
            raise UnsupportedError("there are no transactions here; turn autocommit on")
        if asked.temporary:
            raise UnsupportedError(_TEMPORARY)
        if (asked.HasField("catalog") and asked.catalog) or (asked.HasField("schema") and asked.schema not in ("", SCHEMA)):
            raise UnknownResourceError(f"there is no such schema or catalog here; leave them out, or name the schema {SCHEMA!r}")
        options = asked.table_definition_options
        if options.if_exists == _REPLACE:
            raise UnsupportedError("a dataset can't be replaced by an ingest; append to it (mode='append')")
        name = asked.table
        if options.if_not_exist == _CREATE and name not in self._service.visible(call.caller, "see"):
            raise UnknownResourceError(
                f"there is no dataset {name[:63]!r} that you may use, and an ingest makes none: declare it first, then append"
            )
        dataset = self._service.dataset(call.caller, name, need="write")
        if options.if_exists == _FAIL:
            raise ExistsError(f"dataset {name!r} is there already; append to it (mode='append')")
        source_of(dataset)
        return dataset


_SHOWN_IDS = 20
"""Ingestions that are named in the trailers; headers must not grow without end."""


async def _whole(call: Call, sent: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What is sent, to an end that is the client's.

    gRPC gives the same end of a stream whose client is gone. Nothing can be sent to that client any more, though, and that is
    decided before the end is seen; so a part is never taken for the whole.

    Raises:
        StoppedError: it broke off, or nothing came for too long.
    """
    while True:
        try:
            yield await asyncio.wait_for(anext(sent), calls.PATIENCE_SECONDS)
        except StopAsyncIteration:
            break
        except TimeoutError:
            raise StoppedError(f"nothing was sent for {calls.PATIENCE_SECONDS:.0f} seconds; send it again") from None
    try:
        await call.context.send_initial_metadata(())
    except Exception:  # gRPC's own error for it is not public
        raise StoppedError("the stream broke off; send it again") from None


async def _messages(first: Any, sent: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    yield first
    async for data in sent:
        yield read("FlightData", data)


async def _answer(call: Call, result: Any) -> None:
    await call.write(make("PutResult", app_metadata=result.SerializeToString()).SerializeToString())


async def _pieces(messages: AsyncIterator[Any], intake: Intake) -> AsyncGenerator[bytes, None]:
    """A stream of messages as streams within the limits of a body, each with schema and dictionaries so far; one at least.

    Raises:
        InputError: a message's metadata is malformed. TooLargeError: what each stream begins with is too long.
        TooManyRequestsError: all requests together hold too much.
    """
    always, piece = list[bytes](), list[bytes]()
    least = size = rows = pieces = 0
    with ExitStack() as holding:
        more = holding.enter_context(intake.holding())
        async for message in messages:
            if not message.data_header:
                continue
            facts = _facts(message)
            data = ipc_message(message.data_header, message.data_body)
            full = size + facts.size > intake.body_bytes or rows + facts.rows > intake.rows
            if facts.is_batch and full and len(piece) > len(always):
                yield ipc_stream(piece)
                holding.close()
                more = holding.enter_context(intake.holding())
                more(2 * least)
                piece, size, rows, pieces = [*always], least, 0, pieces + 1
            # as it came, and once more while it is taken apart
            more(2 * len(data))
            piece.append(data)
            size, rows = size + max(len(data), facts.size), rows + facts.rows
            if not facts.is_batch:
                always.append(data)
                least += max(len(data), facts.size)
                if least > intake.body_bytes:
                    raise TooLargeError(f"the dictionaries are longer than {intake.body_bytes:,} bytes; send plain columns")
        if len(piece) > len(always) or not pieces:
            yield ipc_stream(piece)


MOST_METADATA = 2_000_000
"""Bytes of a message's metadata: it is gone through while all other calls wait."""


def _facts(message: Any) -> MessageFacts:
    if len(message.data_header) > MOST_METADATA:
        raise InputError(f"a message has at most {MOST_METADATA:,} bytes of metadata; send fewer columns")
    try:
        return message_facts(memoryview(message.data_header), memoryview(message.data_body))
    except ValueError:
        raise InputError("a message is not valid Arrow: it is damaged or cut off") from None
