"""The messages of Flight and Flight SQL, made at run time from what their specifications say of names, numbers and types.

They live in a pool of their own, so that another library's classes of the same names never meet them. Generated code would bind
us to the protobuf that made it, and Dagster decides which one is installed.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from timestore_assets.model.errors import InputError

FLIGHT, SQL = "arrow.flight.protocol", "arrow.flight.protocol.sql"
TYPE_URL = "type.googleapis.com/"

# name, number and type of each field; `?`: it knows whether it is set, `*`: there may be several
_FLIGHT = """
HandshakeRequest: protocol_version 1 uint64, payload 2 bytes
HandshakeResponse: protocol_version 1 uint64, payload 2 bytes
Action: type 1 string, body 2 bytes
ActionType: type 1 string, description 2 string
Result: body 1 bytes
SchemaResult: schema 1 bytes
FlightDescriptor: type 1 int32, cmd 2 bytes, path 3 *string
Ticket: ticket 1 bytes
Location: uri 1 string
FlightEndpoint: ticket 1 Ticket, location 2 *Location
FlightInfo: schema 1 bytes, flight_descriptor 2 FlightDescriptor, endpoint 3 *FlightEndpoint, total_records 4 int64, total_bytes 5 int64, ordered 6 bool
FlightData: flight_descriptor 1 FlightDescriptor, data_header 2 bytes, app_metadata 3 bytes, data_body 1000 bytes
PutResult: app_metadata 1 bytes
CancelFlightInfoRequest: info 1 FlightInfo
CancelFlightInfoResult: status 1 int32
SessionOptionValue: string_value 1 ?string
SessionOption: key 1 string, value 2 SessionOptionValue
SetSessionOptionsRequest: session_options 1 *SessionOption
SessionOptionError: value 1 int32
SessionOptionFailure: key 1 string, value 2 SessionOptionError
SetSessionOptionsResult: errors 1 *SessionOptionFailure
GetSessionOptionsResult: session_options 1 *SessionOption
CloseSessionResult: status 1 int32
"""  # noqa: E501 - a table
_SQL = """
CommandGetSqlInfo: info 1 *uint32
CommandGetXdbcTypeInfo: data_type 1 ?int32
CommandGetCatalogs:
CommandGetDbSchemas: catalog 1 ?string, db_schema_filter_pattern 2 ?string
CommandGetTables: catalog 1 ?string, db_schema_filter_pattern 2 ?string, table_name_filter_pattern 3 ?string, table_types 4 *string, include_schema 5 bool
CommandGetTableTypes:
CommandGetPrimaryKeys: catalog 1 ?string, db_schema 2 ?string, table 3 string
CommandGetExportedKeys: catalog 1 ?string, db_schema 2 ?string, table 3 string
CommandGetImportedKeys: catalog 1 ?string, db_schema 2 ?string, table 3 string
CommandGetCrossReference: pk_table 3 string, fk_table 6 string
ActionCreatePreparedStatementRequest: query 1 string, transaction_id 2 ?bytes
ActionCreatePreparedStatementResult: prepared_statement_handle 1 bytes, dataset_schema 2 bytes, parameter_schema 3 bytes, is_update 4 ?bool
ActionClosePreparedStatementRequest: prepared_statement_handle 1 bytes
ActionCancelQueryRequest: info 1 bytes
ActionCancelQueryResult: result 1 int32
CommandStatementQuery: query 1 string, transaction_id 2 ?bytes
CommandPreparedStatementQuery: prepared_statement_handle 1 bytes
TicketStatementQuery: statement_handle 1 bytes
CommandStatementUpdate: query 1 string
CommandPreparedStatementUpdate: prepared_statement_handle 1 bytes
CommandStatementSubstraitPlan: transaction_id 2 ?bytes
TableDefinitionOptions: if_not_exist 1 int32, if_exists 2 int32
CommandStatementIngest: table_definition_options 1 TableDefinitionOptions, table 2 string, schema 3 ?string, catalog 4 ?string, temporary 5 bool, transaction_id 6 ?bytes
DoPutUpdateResult: record_count 1 int64
DoPutPreparedStatementResult: prepared_statement_handle 1 ?bytes
"""  # noqa: E501 - a table


def _described(package: str, table: str) -> FileDescriptorProto:
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for line in table.strip().splitlines():
        name, _, fields = line.partition(":")
        message = file.message_type.add(name=name)
        for text in filter(None, (field.strip() for field in fields.split(","))):
            _add(message, package, *text.split())
    return file


def _add(message: DescriptorProto, package: str, name: str, number: str, kind: str) -> None:
    field = message.field.add(name=name, number=int(number), label=FieldDescriptorProto.LABEL_OPTIONAL)
    plain = kind.lstrip("*?")
    if kind.startswith("*"):
        field.label = FieldDescriptorProto.LABEL_REPEATED
    if kind.startswith("?"):
        field.proto3_optional, field.oneof_index = True, len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")
    if plain[0].isupper():
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{package}.{plain}"
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{plain.upper()}")


def _classes(package: str, table: str) -> dict[str, type[Message]]:
    pool = DescriptorPool()
    file = _described(package, table)
    pool.Add(file)
    return {one.name: GetMessageClass(pool.FindMessageTypeByName(f"{package}.{one.name}")) for one in file.message_type}


_MESSAGES = _classes(FLIGHT, _FLIGHT) | _classes(SQL, _SQL)
_OF_SQL = frozenset(line.partition(":")[0] for line in _SQL.strip().splitlines())


def make(kind: str, **fields: Any) -> Any:
    """A message of that name."""
    return _MESSAGES[kind](**fields)


def read(kind: str, data: bytes) -> Any:
    """A message of that name; InputError when the bytes are none."""
    try:
        return _MESSAGES[kind].FromString(data)
    except (DecodeError, UnicodeDecodeError):
        raise InputError(f"what was sent is no {kind} of Arrow Flight") from None


def packed(kind: str, **fields: Any) -> bytes:
    """A message of Flight SQL as it goes into tickets and results: in a `google.protobuf.Any`."""
    value = make(kind, **fields).SerializeToString()
    made: bytes = AnyMessage(type_url=f"{TYPE_URL}{SQL}.{kind}", value=value).SerializeToString()
    return made


def unpacked(data: bytes) -> tuple[str, Any]:
    """Name and content of a message of Flight SQL in an `Any`; InputError when it is none that is known here."""
    try:
        found = AnyMessage.FromString(data)
    except (DecodeError, UnicodeDecodeError):
        raise InputError("what was sent is no command of Flight SQL") from None
    package, _, kind = found.type_url.rpartition("/")[2].rpartition(".")
    if package != SQL or kind not in _OF_SQL:
        raise InputError(f"{found.type_url[:100]!r} is no command of Flight SQL that is known here")
    return kind, read(kind, found.value)
