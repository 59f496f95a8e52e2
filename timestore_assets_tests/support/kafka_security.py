"""What a broker and its clients need to trust each other: passwords and certificates made for one test run."""

from __future__ import annotations

import secrets
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Security = Literal["sasl_plain", "scram", "tls"]

USER = "timestore"
_MODULE = "org.apache.kafka.common.security"


@dataclass(frozen=True, kw_only=True)
class Access:
    """`protocol`: of the listener that clients use. `broker`, `client`: settings. `format`: arguments of the storage tool."""

    protocol: str = "PLAINTEXT"
    broker: dict[str, str] = field(default_factory=dict)
    client: dict[str, str] = field(default_factory=dict)
    format: tuple[str, ...] = ()


def access(security: Security | None, folder: Path) -> Access:
    """The settings of both sides; for `tls` the certificate lies in the folder."""
    if security is None:
        return Access()
    password = secrets.token_urlsafe(12)
    if security == "tls":
        return _tls(folder, password)
    return _plain(password) if security == "sasl_plain" else _scram(password)


def _plain(password: str) -> Access:
    login = f'{_MODULE}.plain.PlainLoginModule required user_{USER}="{password}";'
    return Access(
        protocol="SASL_PLAINTEXT",
        broker={"listener.name.client.sasl.enabled.mechanisms": "PLAIN", "listener.name.client.plain.sasl.jaas.config": login},
        client=_sasl("PLAIN", password),
    )


def _scram(password: str) -> Access:
    mechanism = "SCRAM-SHA-256"
    return Access(
        protocol="SASL_PLAINTEXT",
        broker={
            "listener.name.client.sasl.enabled.mechanisms": mechanism,
            "listener.name.client.scram-sha-256.sasl.jaas.config": f"{_MODULE}.scram.ScramLoginModule required;",
        },
        client=_sasl(mechanism, password),
        format=("--add-scram", f"{mechanism}=[name={USER},password={password}]"),
    )


def _sasl(mechanism: str, password: str) -> dict[str, str]:
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": mechanism,
        "sasl.username": USER,
        "sasl.password": password,
    }


def _tls(folder: Path, password: str) -> Access:
    store, certificate = folder / "broker.p12", folder / "broker.pem"
    _keytool("-genkeypair", "-keyalg", "EC", "-dname", "CN=localhost", "-validity", "2", store=store, password=password)
    _keytool("-exportcert", "-rfc", "-file", str(certificate), store=store, password=password)
    prefix = "listener.name.client.ssl"
    return Access(
        protocol="SSL",
        broker={
            f"{prefix}.keystore.type": "PKCS12",
            f"{prefix}.keystore.location": str(store),
            f"{prefix}.keystore.password": password,
            f"{prefix}.key.password": password,
        },
        client={"security.protocol": "SSL", "ssl.ca.location": str(certificate)},
    )


def _keytool(*arguments: str, store: Path, password: str) -> None:
    where = ["-alias", "broker", "-storetype", "PKCS12", "-keystore", str(store), "-storepass", password]
    names = ["-ext", "SAN=IP:127.0.0.1,DNS:localhost", "-ext", "bc=ca:true"] if arguments[0] == "-genkeypair" else []
    command = ["keytool", *arguments, *names, *where]
    subprocess.run(command, check=True, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
