"""The kinds of sources, and what is decided by the kind alone.

Each question is answered for every kind by name, so that a type checker asks it again when there is another kind.
"""

from __future__ import annotations

from typing import Literal, assert_never, get_args

SourceKind = Literal["files", "kafka", "http"]
SOURCE_KINDS: tuple[SourceKind, ...] = get_args(SourceKind)


def reads_topics(kind: SourceKind) -> bool:
    """Whether its source partitions are partitions of topics, with a watermark, a lag and offsets that can be lost."""
    match kind:
        case "kafka":
            return True
        case "files" | "http":
            return False
        case _:
            assert_never(kind)


def has_partitions_of_sessions(kind: SourceKind) -> bool:
    """Whether each landing session has a source partition for itself (`session-<id>`), which nothing lands from after it."""
    match kind:
        case "http":
            return True
        case "files" | "kafka":
            return False
        case _:
            assert_never(kind)


def lands_files(kind: SourceKind) -> bool:
    """Whether what lands is told by the names of files."""
    match kind:
        case "files":
            return True
        case "kafka" | "http":
            return False
        case _:
            assert_never(kind)
