"""DuckDB connections with limits. Every query of this project runs in one made here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from timestore_assets.model.errors import BadFileError, StorageFullError, UnavailableError

# Each open partition holds an open file; the usual limit of a process is 1024 of them
_OPEN_PARTITIONS = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineLimits:
    """What one connection may use. `temp_dir`: folder into which DuckDB spills what exceeds `memory_bytes`."""

    memory_bytes: int
    threads: int
    temp_dir: Path


def connect(limits: EngineLimits) -> duckdb.DuckDBPyConnection:
    """A new in-memory DuckDB with these limits, in UTC, that neither installs nor loads extensions by itself.

    The connection belongs to one thread at a time; the caller closes it.
    """
    con = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{limits.memory_bytes}B",
            "threads": limits.threads,
            "temp_directory": str(limits.temp_dir),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "partitioned_write_max_open_files": _OPEN_PARTITIONS,
        },
    )
    # TimeZone belongs to the ICU extension, which is there only once the connection is
    con.execute("SET TimeZone='UTC'")
    return con


def one_row(con: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    """Run a query that gives exactly one row, and return it."""
    [row] = con.execute(query).fetchall()
    return tuple(row)


@contextmanager
def disk_failures(doing: str, folder: Path) -> Iterator[None]:
    """Turn what DuckDB says about a full disk, a lack of rights or of memory into errors of this project.

    `doing`: what was under way, as it reads after "while" (`writing segments`); `folder`: where.

    Raises:
        StorageFullError, UnavailableError, BadFileError: in place of DuckDB's own.
    """
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise _out_of_memory(doing, folder, str(error)) from error
    except duckdb.Error as error:
        text = str(error)
        if "No space left" in text or "Disk quota exceeded" in text:
            raise StorageFullError(f"no room left in {folder} while {doing}; free some and run it again") from error
        if "Permission denied" in text or "Read-only file system" in text:
            raise UnavailableError(f"no right to use {folder} while {doing}; check its owner and mode") from error
        raise


def _out_of_memory(doing: str, folder: Path, text: str) -> UnavailableError:
    if "max_temp_directory_size" in text:
        return StorageFullError(f"no room left for temporary files in {folder} while {doing}; free some and run it again")
    return UnavailableError(f"the memory limit is too small for {doing}; raise TIMESTORE_MEMORY and run it again")


def unreadable(name: str, error: duckdb.Error) -> UnavailableError | BadFileError:
    """What it means that DuckDB could not open a segment file."""
    text = str(error)
    if "Conflicting lock" in text:
        return UnavailableError(f"segment {name} is open for writing elsewhere; close it there, or open it with -readonly")
    if "does not exist" in text or "No files found" in text or "No such file" in text:
        return UnavailableError(f"segment {name} is missing from the storage; run `timestore verify` to see what else is")
    return BadFileError("bad_segment", f"segment {name} is not a readable segment file; run `timestore verify`")
