"""`DoAction` and `ListActions`: prepared statements, cancelling, and the options of a session, of which none is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from timestore_assets.model.errors import InputError
from timestore_assets.querying.sql.check import SCHEMA
from timestore_assets.service.flight.calls import Call, UnsupportedError
from timestore_assets.service.flight.flight_data import schema_bytes
from timestore_assets.service.flight.flight_messages import make, packed, read, unpacked
from timestore_assets.service.flight.handles import Handle, announced
from timestore_assets.service.flight.statements import Statements, refuse_transaction, without_zones, zoneless
from timestore_assets.service.problems import UnknownResourceError

_CANCELLED, _CLOSED = 1, 1
_INVALID_NAME, _INVALID_VALUE = 1, 2
_SESSION = {"catalog": "", "schema": SCHEMA}
"""Options with the only value that each can have."""
_Action = Callable[[Call, bytes], Awaitable[bytes | None]]


class Actions:
    """`DoAction`, by the type of the action."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._known: Mapping[str, tuple[_Action, str]] = {
            "CreatePreparedStatement": (self._prepare, "Describe a SELECT and give a handle for it"),
            "ClosePreparedStatement": (self._close, "Nothing is kept, so nothing is let go of"),
            "CancelFlightInfo": (self._cancel, "Stop a statement of the caller's that runs"),
            "CancelQuery": (self._cancel_query, "The same, as older clients say it"),
            "SetSessionOptions": (self._set_options, "Take note of `catalog` and `schema`, which have one value each"),
            "GetSessionOptions": (self._options, "Those options"),
            "CloseSession": (self._close_session, "Nothing is kept, so nothing is let go of"),
        }

    async def act(self, call: Call, sent: bytes) -> None:
        """UnsupportedError for an action that is not offered, InputError for one that can't be read; else as the action."""
        action = read("Action", sent)
        known = self._known.get(action.type)
        if known is None:
            raise UnsupportedError(f"the action {action.type[:60]!r} is not offered here; there are {', '.join(self._known)}")
        call.command = action.type
        result = await known[0](call, action.body)
        if result is not None:
            await call.write(make("Result", body=result).SerializeToString())

    async def list(self, call: Call, _: bytes) -> None:
        for name, (_action, description) in self._known.items():
            await call.write(make("ActionType", type=name, description=description).SerializeToString())

    async def _prepare(self, call: Call, body: bytes) -> bytes:
        asked = _content("ActionCreatePreparedStatementRequest", body)
        refuse_transaction(asked)
        handle = Handle.of(asked.query, as_of=call.as_of)
        found = await self._statements.described(call, handle, None)
        schema = without_zones(found.schema) if zoneless(call) else found.schema
        return packed(
            "ActionCreatePreparedStatementResult",
            prepared_statement_handle=handle.written(),
            dataset_schema=schema_bytes(schema),
            parameter_schema=schema_bytes(announced(found.samples)) if found.samples else b"",
            is_update=False,
        )

    async def _close(self, _call: Call, body: bytes) -> None:
        _content("ActionClosePreparedStatementRequest", body)

    async def _cancel(self, call: Call, body: bytes) -> bytes:
        self._stop(call, read("CancelFlightInfoRequest", body).info)
        answer: bytes = make("CancelFlightInfoResult", status=_CANCELLED).SerializeToString()
        return answer

    async def _cancel_query(self, call: Call, body: bytes) -> bytes:
        self._stop(call, read("FlightInfo", _content("ActionCancelQueryRequest", body).info))
        return packed("ActionCancelQueryResult", result=_CANCELLED)

    def _stop(self, call: Call, info: Any) -> None:
        tickets = [one.ticket.ticket for one in info.endpoint]
        found: tuple[str, Any] = unpacked(tickets[0]) if len(tickets) == 1 else ("", None)
        kind, ticket = found
        if kind != "TicketStatementQuery" or not self._statements.cancel(call, Handle.read(ticket.statement_handle)):
            raise UnknownResourceError("no statement of yours is running under this ticket")

    async def _set_options(self, _call: Call, body: bytes) -> bytes:
        failures = []
        for option in read("SetSessionOptionsRequest", body).session_options:
            if option.key not in _SESSION:
                failures.append((option.key, _INVALID_NAME))
            elif option.value.string_value not in ("", _SESSION[option.key]):
                failures.append((option.key, _INVALID_VALUE))
        errors = [make("SessionOptionFailure", key=key, value=make("SessionOptionError", value=why)) for key, why in failures]
        answer: bytes = make("SetSessionOptionsResult", errors=errors).SerializeToString()
        return answer

    async def _options(self, _call: Call, _body: bytes) -> bytes:
        values = {key: make("SessionOptionValue", string_value=value) for key, value in _SESSION.items()}
        options = [make("SessionOption", key=key, value=value) for key, value in values.items()]
        answer: bytes = make("GetSessionOptionsResult", session_options=options).SerializeToString()
        return answer

    async def _close_session(self, _call: Call, _body: bytes) -> bytes:
        answer: bytes = make("CloseSessionResult", status=_CLOSED).SerializeToString()
        return answer


def _content(kind: str, body: bytes) -> Any:
    found, message = unpacked(body)
    if found != kind:
        raise InputError(f"this action wants a {kind}, here is a {found}")
    return message
