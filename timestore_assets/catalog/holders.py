"""Who holds a lease or a session, and whether that process is known to be gone.

A lease of a process that has died would hold others up until it runs out. The text that names a holder therefore says which
process of which machine it is: host, number, when it started, and a digest of the boot and of the namespace of its number. Only a
holder of exactly this machine and namespace can be found gone; of any other its lease alone tells. One found gone wrongly
would still commit nothing that somebody else has taken over: checkpoints, intents and replaced segments are compared as ever.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
from functools import lru_cache
from pathlib import Path

_PROCESSES = Path("/proc")
_NAMED = re.compile(r"(?P<host>[^:@]+):(?P<pid>\d+)@(?P<started>\d+)\.(?P<machine>[0-9a-f]{12})(?![0-9a-f])")
_ENDED = ("Z", "X")
"""States of a process that has ended and whose parent has not asked how."""


def this_process() -> str:
    """What names this process as a holder; others append to it what tells several holders of one process apart."""
    return _named(os.getpid())


def shown(holder: str) -> str:
    """The holder as people read it: host and process."""
    found = _NAMED.match(holder)
    return holder if found is None else f"{found['host']}:{found['pid']}"


def is_gone(holder: str) -> bool:
    """Whether a holder's process ran on this machine and has ended; False whenever that can't be told."""
    named = _NAMED.match(holder)
    if named is None or named["host"] != socket.gethostname() or named["machine"] != _machine(os.getpid()):
        return False
    pid = int(named["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is there, and somebody else's
        pass
    state, started = _looked_at(pid)
    return state in _ENDED or (started is not None and started != named["started"])


@lru_cache(maxsize=4)
def _named(pid: int) -> str:
    plain = f"{socket.gethostname()}:{pid}"
    _, started = _looked_at(pid)
    machine = _machine(pid)
    return f"{plain}@{started}.{machine}" if started and machine else plain


@lru_cache(maxsize=4)
def _machine(pid: int) -> str | None:
    """The boot of this machine and the namespace of process numbers; None where neither can be told. `pid`: our own."""
    try:
        boot = (_PROCESSES / "sys/kernel/random/boot_id").read_text().strip()
        namespace = (_PROCESSES / str(pid) / "ns/pid").stat().st_ino
    except OSError:
        return None
    return hashlib.sha256(f"{boot} {namespace}".encode()).hexdigest()[:12]


def _looked_at(pid: int) -> tuple[str | None, str | None]:
    """State of a process, and when it started, in ticks since the boot; None for what can't be read."""
    try:
        text = (_PROCESSES / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None, None
    # the command's name stands in brackets and may hold anything
    fields = text.rpartition(")")[2].split()
    return (fields[0], fields[19]) if len(fields) > 19 else (None, None)
