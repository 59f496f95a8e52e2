"""A TCP proxy on loopback that can lose an answer on its way back, after the service behind it has done its work."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

READ_BYTES = 1 << 16
PATIENCE_SECONDS = 20.0


@dataclass
class RoughProxy:
    """`losing`: how many of the next answers are lost. `lost`: how many were."""

    url: str = ""
    losing: int = 0
    lost: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def loses(self) -> bool:
        with self.lock:
            if self.losing == 0:
                return False
            self.losing, self.lost = self.losing - 1, self.lost + 1
            return True


@contextmanager
def rough_proxy(target: str) -> Iterator[RoughProxy]:
    """A proxy in front of the service at this address, until the block ends."""
    parts = urlsplit(target)
    assert parts.hostname and parts.port
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = RoughProxy(url=f"http://127.0.0.1:{listener.getsockname()[1]}")
    behind = (parts.hostname, parts.port)
    thread = threading.Thread(target=_accept, args=(listener, behind, proxy), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=PATIENCE_SECONDS)


def _accept(listener: socket.socket, behind: tuple[str, int], proxy: RoughProxy) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(behind, timeout=PATIENCE_SECONDS)
            threading.Thread(target=_forward, args=(client, server), daemon=True).start()
            threading.Thread(target=_return, args=(server, client, proxy), daemon=True).start()


def _forward(client: socket.socket, server: socket.socket) -> None:
    with suppress(OSError):
        while piece := client.recv(READ_BYTES):
            server.sendall(piece)
        server.shutdown(socket.SHUT_WR)


def _return(server: socket.socket, client: socket.socket, proxy: RoughProxy) -> None:
    """Hand answers back; the service answers only when the rows are durable, so a lost answer is a lost acknowledgement."""
    with client, server, suppress(OSError):
        while piece := server.recv(READ_BYTES):
            if proxy.loses():
                client.shutdown(socket.SHUT_RDWR)
                return
            client.sendall(piece)
