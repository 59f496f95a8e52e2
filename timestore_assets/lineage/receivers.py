"""Where events go: `TIMESTORE_OPENLINEAGE` names an HTTP receiver, a file, or a topic.

HTTP and files go by the client's transports. Its transport for Kafka logs what was not delivered and goes on; here an event is
sent when the brokers have it, so topics have the producer that dead letters have.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from timestore_assets import file_access
from timestore_assets.extras import extra
from timestore_assets.model.errors import InputError, RefusedError, UnavailableError

with extra("openlineage"):
    from openlineage.client.serde import Serde
    from openlineage.client.transport.file import FileConfig, FileTransport
    from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport, TokenProvider

if TYPE_CHECKING:
    from confluent_kafka import Producer
    from openlineage.client.event_v2 import RunEvent

    from timestore_assets.settings import Settings

SETTING = "TIMESTORE_OPENLINEAGE"
TIMEOUT_SECONDS = 10.0
ENDPOINT = "api/v1/lineage"
_MAY_PASS = frozenset((401, 403, 404, 407, 408, 425, 429))
"""Answers that say nothing of the event: credentials and addresses are mended, and a full receiver has room again."""
_FORMS = "write https://host, file:///path/events.jsonl, or kafka://host:port/topic"


class Receiver(Protocol):
    """Something that takes events."""

    def send(self, event: RunEvent) -> None:
        """Hand an event over; it is taken when this returns.

        Raises:
            UnavailableError: it was not taken, and may be when it is sent again. RefusedError: it never will be. The sentence has
                no address and no secret in it.
        """

    def close(self) -> None: ...


def receiver_of(settings: Settings) -> Receiver | None:
    """The receiver that the settings name, None when they name none.

    Raises:
        InputError: the address is none; it is not shown. MissingExtraError: a package for it is missing.
    """
    if settings.openlineage is None:
        return None
    address = settings.openlineage.get_secret_value().strip()
    try:
        url = urlsplit(address)
        host = url.hostname
    except ValueError:
        raise InputError(f"{SETTING} is no address; {_FORMS}") from None
    if url.scheme in ("http", "https") and host:
        key = settings.openlineage_api_key
        return HttpReceiver(_http(url, key.get_secret_value() if key else None))
    if url.scheme == "file" and url.path.strip("/") and host in (None, "localhost"):
        return FileReceiver(Path(unquote(url.path)))
    topic = url.path.strip("/")
    if url.scheme == "kafka" and topic and "/" not in topic and not url.username:
        return KafkaReceiver(settings, servers=url.netloc or None, topic=topic)
    raise InputError(f"{SETTING} has no address of a known kind; {_FORMS}")


def _http(url: SplitResult, key: str | None) -> HttpConfig:
    path = url.path.strip("/")
    base = url._replace(path="", query="", fragment="").geturl()
    endpoint = f"/{path or ENDPOINT}{f'?{url.query}' if url.query else ''}"
    auth = ApiKeyTokenProvider({"api_key": key}) if key else TokenProvider({})
    # we try again ourselves, between rounds
    return HttpConfig(url=base, endpoint=endpoint, timeout=TIMEOUT_SECONDS, auth=auth, retry={"total": 0})


class HttpReceiver:
    def __init__(self, config: HttpConfig) -> None:
        self._transport = HttpTransport(config)

    def send(self, event: RunEvent) -> None:
        from requests.exceptions import HTTPError, RequestException

        try:
            answer = self._transport.emit(event)
        except HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if 400 <= status < 500 and status not in _MAY_PASS:
                raise RefusedError(f"the receiver answered {status}") from None
            raise UnavailableError(f"the receiver answered {status}") from None
        except (RequestException, OSError, ValueError) as error:
            raise UnavailableError(f"the receiver could not be reached ({type(error).__name__})") from None
        if answer.history:  # what is posted gets lost on the way
            raise UnavailableError("the receiver redirects; write the address that it redirects to")

    def close(self) -> None:
        self._transport.close()


@dataclass(frozen=True)
class FileReceiver:
    """Appends a line for each event."""

    path: Path

    def send(self, event: RunEvent) -> None:
        try:
            file_access.make_folder(self.path.parent)
            # made here, because the transport would make it by the umask
            os.close(os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, file_access.modes().file))
            FileTransport(FileConfig(log_file_path=str(self.path), append=True)).emit(event)
        except (OSError, RuntimeError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            what = getattr(cause, "strerror", None) or type(error).__name__
            raise UnavailableError(f"the file can't be written ({what})") from None

    def close(self) -> None:
        """Each event's line is closed."""


class KafkaReceiver:
    """Produces each event, keyed by its job, so that the events of a run stay in order."""

    def __init__(self, settings: Settings, *, servers: str | None, topic: str) -> None:
        from timestore_assets.sources.kafka.kafka_client import connection_of

        self._topic = topic
        self._producer: Producer | None = None
        self._connection = connection_of(settings, servers)

    def send(self, event: RunEvent) -> None:
        from timestore_assets.sources.kafka.delivery import producer_of

        producer = self._producer = self._producer or producer_of(self._connection.config(), TIMEOUT_SECONDS)
        outcomes: list[Any] = []
        key, value = f"run:{event.job.namespace}/{event.job.name}", Serde.to_json(event).encode()
        self._produce(producer, key, value, outcomes)
        producer.flush(TIMEOUT_SECONDS + 1)
        if outcomes and outcomes[0] is None:  # an error of the client can't be compared with None
            return
        self.close()
        from confluent_kafka import KafkaError

        if outcomes and outcomes[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
            raise RefusedError("the topic takes no event of this size")
        why = outcomes[0].str() if outcomes else "no answer"
        raise UnavailableError(f"the brokers did not take it ({why})")

    def _produce(self, producer: Producer, key: str, value: bytes, outcomes: list[Any]) -> None:
        from confluent_kafka import KafkaException

        try:
            producer.produce(self._topic, value, key, on_delivery=lambda error, _: outcomes.append(error))
        except KafkaException as error:
            outcomes.append(error.args[0])

    def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            # what is under way is sent again
            producer.purge()
            producer.flush(1)
