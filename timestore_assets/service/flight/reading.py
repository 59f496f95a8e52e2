"""`GetFlightInfo`, `GetSchema` and `DoGet`: from a command to a ticket, and from a ticket to rows.

There is one endpoint and no location: clients come back to where they asked, and an address that they can't reach breaks them.
"""

from __future__ import annotations

from functools import partial

import pyarrow as pa
from anyio import to_thread

from timestore_assets.model.errors import InputError
from timestore_assets.service.flight.calls import AS_OF, Call, UnsupportedError
from timestore_assets.service.flight.catalog_tables import listing
from timestore_assets.service.flight.flight_data import batch_data, schema_bytes, schema_data
from timestore_assets.service.flight.flight_messages import make, packed, read, unpacked
from timestore_assets.service.flight.handles import Handle
from timestore_assets.service.flight.statements import Statements, refuse_transaction, without_zones, zoneless
from timestore_assets.service.state import Service


class StatementReading:
    """What answers questions."""

    def __init__(self, service: Service, statements: Statements) -> None:
        self._service, self._statements = service, statements

    async def flight_info(self, call: Call, sent: bytes) -> bytes:
        """Errors as `sandbox.check` for a statement; InputError for no command, UnsupportedError for one that is not offered."""
        descriptor = read("FlightDescriptor", sent)
        schema, ticket = await self._planned(call, descriptor.cmd)
        info = make(
            "FlightInfo",
            schema=schema_bytes(schema),
            flight_descriptor=descriptor,
            endpoint=[make("FlightEndpoint", ticket=make("Ticket", ticket=ticket))],
            total_records=-1,
            total_bytes=-1,
            ordered=True,
        )
        answer: bytes = info.SerializeToString()
        return answer

    async def schema(self, call: Call, sent: bytes) -> bytes:
        """Errors as `flight_info`."""
        schema, _ = await self._planned(call, read("FlightDescriptor", sent).cmd)
        answer: bytes = make("SchemaResult", schema=schema_bytes(schema)).SerializeToString()
        return answer

    async def get(self, call: Call, sent: bytes) -> None:
        """Errors as `flight_info`, and as `run_sql` for a statement."""
        ticket = read("Ticket", sent).ticket
        call.command, asked = unpacked(ticket)
        if call.command == "TicketStatementQuery":
            handle = Handle.read(asked.statement_handle)
            if call.as_of is not None and not handle.as_of:
                raise InputError(f"the ticket is of the newest versions; send the header {AS_OF} with GetFlightInfo as well")
            await self._statements.stream(call, handle)
            return
        table = await self._listed(call, ticket)
        call.rows = table.num_rows
        await call.write(schema_data(table.schema))
        for batch in table.to_batches():
            for piece in batch_data(batch):
                await call.write(piece)

    async def _planned(self, call: Call, command: bytes) -> tuple[pa.Schema, bytes]:
        """The schema of what a command gives, and the ticket for it."""
        call.command, asked = unpacked(command)
        if call.command == "CommandStatementQuery":
            refuse_transaction(asked)
            handle = Handle.of(asked.query, as_of=call.as_of)
        elif call.command == "CommandPreparedStatementQuery":
            handle = Handle.read(asked.prepared_statement_handle).meaning(call.as_of)
        else:
            return (await self._listed(call, command)).schema, command
        found = await self._statements.described(call, handle, handle.values())
        schema = without_zones(found.schema) if zoneless(call) else found.schema
        return schema, packed("TicketStatementQuery", statement_handle=handle.written())

    async def _listed(self, call: Call, command: bytes) -> pa.Table:
        name, asked = unpacked(command)
        table = await to_thread.run_sync(partial(listing, self._service, call, name, asked))
        if table is None:
            raise UnsupportedError(f"{name} is not offered here; ask in SQL")
        return table
