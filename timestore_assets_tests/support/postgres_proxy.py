"""A TCP proxy in front of a PostgreSQL server that breaks a connection at a chosen statement."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

READ_BYTES = 1 << 16
PATIENCE_SECONDS = 30.0
Cut = Literal["before", "after", "held"]
"""Whether the server never gets the statement, does it and its answer is lost, or gets it when the client has long gone."""


@dataclass
class PostgresProxy:
    """`cut` and `at`: what happens once to the next message that holds these bytes. `release`: lets a held one go."""

    port: int
    behind: Path
    cut: Cut | None = None
    at: bytes = b"COMMIT\x00"
    cuts: int = 0
    release: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def takes(self, message: bytes) -> Cut | None:
        with self.lock:
            if self.cut is None or self.at not in message:
                return None
            cut, self.cut = self.cut, None
            self.cuts += 1
            return cut


@contextmanager
def postgres_proxy(folder: Path) -> Iterator[PostgresProxy]:
    """A proxy before the server whose socket lies in this folder, until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = PostgresProxy(port=listener.getsockname()[1], behind=folder / ".s.PGSQL.5432")
    thread = threading.Thread(target=_accept, args=(listener, proxy), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.release.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(PATIENCE_SECONDS)


def _accept(listener: socket.socket, proxy: PostgresProxy) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(proxy.behind))
            except OSError:
                client.close()
                server.close()
                continue
            lost = threading.Event()
            threading.Thread(target=_forward, args=(client, server, proxy, lost), daemon=True).start()
            threading.Thread(target=_return, args=(server, client, lost), daemon=True).start()


def _forward(client: socket.socket, server: socket.socket, proxy: PostgresProxy, lost: threading.Event) -> None:
    with suppress(OSError):
        while message := client.recv(READ_BYTES):
            match proxy.takes(message):
                case "before":
                    break
                case "after":
                    lost.set()
                case "held":
                    lost.set()
                    client.shutdown(socket.SHUT_RDWR)
                    proxy.release.wait(PATIENCE_SECONDS)
                    server.sendall(message)
                    return  # the answer tells the other thread when the server is done with it
            server.sendall(message)
    _end(client, server)


def _return(server: socket.socket, client: socket.socket, lost: threading.Event) -> None:
    with server, client:
        with suppress(OSError):
            while (message := server.recv(READ_BYTES)) and not lost.is_set():
                client.sendall(message)
        _end(client, server)


def _end(*ends: socket.socket) -> None:
    """Shut down and not merely closed: the other thread may be reading from it."""
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
