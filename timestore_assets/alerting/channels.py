"""Where messages go: webhooks, Slack and mail, as `TIMESTORE_ALERT_CHANNELS` names them."""

from __future__ import annotations

import hashlib
import hmac
import json
import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from typing import TYPE_CHECKING, Protocol
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from timestore_assets.model.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from timestore_assets.catalog.alerts import AlertMessage
    from timestore_assets.settings import Settings

TIMEOUT_SECONDS = 10.0
_SETTING = "TIMESTORE_ALERT_CHANNELS"
_SLACK = "slack+"


class Channel(Protocol):
    """Something that takes messages."""

    def send(self, message: AlertMessage) -> None:
        """Hand a message over.

        Raises:
            UnavailableError: it was not taken; the sentence has no address and no secret in it.
        """


def channels_of(settings: Settings) -> Mapping[str, Channel]:
    """The channels by name.

    Raises:
        InputError: the setting is no JSON object of addresses, or an address is none; no address is shown.
    """
    if settings.alert_channels is None:
        return {}
    try:
        named = json.loads(settings.alert_channels.get_secret_value())
    except json.JSONDecodeError as error:
        raise InputError(f"{_SETTING} is no JSON (character {error.pos + 1}); write an object of name to address") from None
    if not isinstance(named, dict) or not all(isinstance(address, str) for address in named.values()):
        raise InputError(f'{_SETTING} is no JSON object of name to address; write for instance {{"ops": "https://…"}}')
    secret = settings.alert_secret.get_secret_value().encode() if settings.alert_secret else None
    return {name: _channel(name, address, secret) for name, address in named.items()}


def _channel(name: str, address: str, secret: bytes | None) -> Channel:
    url = urlsplit(address.removeprefix(_SLACK))
    if url.scheme in ("http", "https") and url.hostname:
        return Slack(url=url.geturl()) if address.startswith(_SLACK) else Webhook(url=url.geturl(), secret=secret)
    if url.scheme in ("smtp", "smtps") and url.hostname:
        return _mail(name, url)
    raise InputError(f"{_SETTING}: channel {name!r} has no address of a known kind; write https://…, slack+https://… or smtp://…")


def _mail(name: str, url: SplitResult) -> Mail:
    asked = parse_qs(url.query)
    try:
        sender, receivers = asked["from"][0], tuple(to for named in asked["to"] for to in named.split(","))
    except KeyError:
        raise InputError(f"{_SETTING}: channel {name!r} lacks a sender or a receiver; end it with ?from=…&to=…") from None
    return Mail(
        host=str(url.hostname),
        port=url.port or (465 if url.scheme == "smtps" else 587),
        is_tls=url.scheme == "smtps",
        user=unquote(url.username) if url.username else None,
        password=unquote(url.password) if url.password else "",
        sender=sender,
        receivers=receivers,
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class Webhook:
    """Takes the message as JSON; `Idempotency-Key` names it, so that one that comes again is known."""

    url: str
    secret: bytes | None

    def send(self, message: AlertMessage) -> None:
        body = json.dumps({"id": message.key, **message.payload}).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": message.key}
        if self.secret is not None:
            headers["X-Timestore-Signature"] = f"sha256={hmac.new(self.secret, body, hashlib.sha256).hexdigest()}"
        _post(self.url, body, headers)


@dataclass(frozen=True, kw_only=True, repr=False)
class Slack:
    """An incoming webhook of Slack, or of what speaks like it (Mattermost, Rocket.Chat)."""

    url: str

    def send(self, message: AlertMessage) -> None:
        text = f"{_MARKS.get(str(message.payload.get('state')), '')} {subject(message)}\n{message.payload['summary']}".strip()
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        _post(self.url, json.dumps({"text": escaped}).encode(), {"Content-Type": "application/json"})


@dataclass(frozen=True, kw_only=True, repr=False)
class Mail:
    """A mail server. Without `is_tls` the connection is encrypted where the server offers it; no password goes without that."""

    host: str
    port: int
    is_tls: bool
    user: str | None
    password: str
    sender: str
    receivers: tuple[str, ...]

    def send(self, message: AlertMessage) -> None:
        mail = EmailMessage()
        mail["Subject"], mail["From"], mail["To"] = subject(message), self.sender, ", ".join(self.receivers)
        mail["Message-ID"] = f"<{hashlib.sha256(message.key.encode()).hexdigest()[:32]}@timestore>"
        mail.set_content(f"{message.payload['summary']}\n\n{json.dumps(dict(message.payload), indent=2, ensure_ascii=False)}\n")
        try:
            with self._connected() as server:
                server.send_message(mail)
        except (OSError, smtplib.SMTPException) as error:
            raise UnavailableError(f"the mail server did not take it ({type(error).__name__})") from None

    def _connected(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self.is_tls:
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_SECONDS, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_SECONDS)
            server.ehlo()
            if server.has_extn("starttls"):
                server.starttls(context=context)
            elif self.user is not None:
                server.close()
                raise smtplib.SMTPNotSupportedError("no encryption, and a password")
        if self.user is not None:
            server.login(self.user, self.password)
        return server


_MARKS = {"firing": ":red_circle:", "recovered": ":large_green_circle:", "changed": ":large_blue_circle:"}


def subject(message: AlertMessage) -> str:
    """One line: what it is about and how it stands."""
    told = message.payload
    about = told.get("dataset") or told.get("run") or "test"
    still = "still " if told.get("reminder") else ""
    return f"[timestore] {about}: {told['alert']} {still}{told['state']}"


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    import httpx

    try:
        answer = httpx.post(url, content=body, headers=dict(headers), timeout=TIMEOUT_SECONDS, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnavailableError(f"it could not be reached ({type(error).__name__})") from None
    if not answer.is_success:
        raise UnavailableError(f"it answered {answer.status_code}")
