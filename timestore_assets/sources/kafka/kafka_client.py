"""Connections to a cluster: one set of librdkafka options for all clients, and its errors in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from timestore_assets.extras import extra
from timestore_assets.model.errors import InputError, TimestoreError, UnavailableError

with extra("kafka"):
    from confluent_kafka import KafkaError, KafkaException

if TYPE_CHECKING:
    from timestore_assets.settings import Settings

_REFUSED = {
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError._SSL,
    KafkaError._INVALID_ARG,
}
"""What trying again doesn't help against."""


@dataclass(kw_only=True)
class ReportedErrors:
    """What the client's own threads reported last; librdkafka says only there why it can't connect."""

    last: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        # that all are down says less than what was said of one of them
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self.last is None:
            self.last = error


@dataclass(frozen=True, kw_only=True, slots=True)
class KafkaConnection:
    """How to reach a cluster. `servers`: `host:port` list. The options may hold secrets and are in no repr."""

    servers: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def config(self, troubles: ReportedErrors | None = None, **more: Any) -> dict[str, Any]:
        """Options for a confluent-kafka client; keywords with `_` for each `.`."""
        config = {"bootstrap.servers": self.servers, "client.id": "timestore", "log_level": 0, **self.options}
        config.update({name.replace("_", "."): value for name, value in more.items()})
        if troubles is not None:
            config["error_cb"] = troubles
        return config


def connection_of(settings: Settings, servers: str | None = None) -> KafkaConnection:
    """The connection that the settings describe; `servers` of a source win over the deployment's.

    Raises:
        UnavailableError: no cluster is configured, and no embedded broker runs for this home.
        InputError: settings that belong together are incomplete.
    """
    from timestore_assets.sources.kafka.embedded import published_servers

    configured = servers or settings.kafka_bootstrap_servers
    found = configured or published_servers(settings.home_folder)
    if not found:
        raise UnavailableError("no Kafka cluster is configured: set TIMESTORE_KAFKA_BOOTSTRAP_SERVERS or run `timestore broker`")
    return KafkaConnection(servers=found, options=_security(settings) if configured else {})


def _security(settings: Settings) -> dict[str, Any]:
    options: dict[str, Any] = {"security.protocol": settings.kafka_security_protocol}
    if settings.kafka_security_protocol.startswith("sasl"):
        options |= _sasl(settings)
    files = {
        "ssl.ca.location": settings.kafka_ssl_ca_file,
        "ssl.certificate.location": settings.kafka_ssl_certificate_file,
        "ssl.key.location": settings.kafka_ssl_key_file,
    }
    for name, path in files.items():
        if path is not None:
            if not path.is_file():
                raise InputError(f"{path}, set by TIMESTORE_KAFKA_{name.upper().replace('.', '_')[:-9]}_FILE, is no file")
            options[name] = str(path)
    if settings.kafka_ssl_key_password is not None:
        options["ssl.key.password"] = settings.kafka_ssl_key_password.get_secret_value()
    return options


def _sasl(settings: Settings) -> dict[str, Any]:
    mechanism = settings.kafka_sasl_mechanism
    if mechanism == "OAUTHBEARER":
        needed = {
            "sasl.oauthbearer.token.endpoint.url": ("KAFKA_OAUTH_TOKEN_URL", settings.kafka_oauth_token_url),
            "sasl.oauthbearer.client.id": ("KAFKA_OAUTH_CLIENT_ID", settings.kafka_oauth_client_id),
            "sasl.oauthbearer.client.secret": ("KAFKA_OAUTH_CLIENT_SECRET", settings.kafka_oauth_client_secret),
        }
    else:
        needed = {
            "sasl.username": ("KAFKA_SASL_USERNAME", settings.kafka_sasl_username),
            "sasl.password": ("KAFKA_SASL_PASSWORD", settings.kafka_sasl_password),
        }
    options: dict[str, Any] = {"sasl.mechanism": mechanism}
    for name, (variable, value) in needed.items():
        if value is None:
            raise InputError(f"TIMESTORE_{variable} is not set, and {mechanism} needs it")
        options[name] = value if isinstance(value, str) else value.get_secret_value()
    if mechanism == "OAUTHBEARER":
        options["sasl.oauthbearer.method"] = "oidc"
        if settings.kafka_oauth_scope is not None:
            options["sasl.oauthbearer.scope"] = settings.kafka_oauth_scope
    return options


@contextmanager
def explained(connection: KafkaConnection, doing: str, troubles: ReportedErrors | None = None) -> Iterator[None]:
    """Turn the client's errors into ours: `InputError` for what must be mended, `UnavailableError` for what may pass."""
    try:
        yield
    except KafkaException as error:
        raise error_of(connection, doing, error.args[0], troubles) from None


def error_of(
    connection: KafkaConnection, doing: str, error: KafkaError, troubles: ReportedErrors | None = None
) -> TimestoreError:
    """One sentence about an error, and about the cause that the client's threads reported, if any."""
    cause = troubles.last if troubles is not None and troubles.last is not None else error
    text = f"{doing} from the Kafka brokers {connection.servers} failed: {cause.str() or cause.name()}"
    if {error.code(), cause.code()} & _REFUSED:
        return InputError(f"{text}; check the TIMESTORE_KAFKA_… settings")
    return UnavailableError(f"{text}; check that they run and that TIMESTORE_KAFKA_BOOTSTRAP_SERVERS is right")
