"""Dagster's processes as children: started with a home of their own, watched, and always stopped.

Where the catalog is in PostgreSQL, Dagster's runs, events and schedules are beside it, in a schema of their own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from timestore_assets.file_access import make_folder, persons_umask
from timestore_assets.model.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from timestore_assets.settings import Settings


URL_VARIABLE = "DAGSTER_DATABASE_URL"
"""What `dagster.yaml` names in place of the URL, so that no password is in a file."""

_STORAGE = f"""
storage: # beside the catalog, because TIMESTORE_DATABASE_URL is on PostgreSQL
  postgres:
    postgres_url:
      env: {URL_VARIABLE}
"""


def dagster_schema(settings: Settings) -> str:
    """The PostgreSQL schema of Dagster's tables."""
    return f"{settings.pg_schema}_dagster"


def with_storage(dagster_yaml: str) -> str:
    """The text of a `dagster.yaml` that stores in PostgreSQL; one that says where to store stays as it is."""
    import yaml

    return dagster_yaml if "storage" in (yaml.safe_load(dagster_yaml) or {}) else dagster_yaml.rstrip("\n") + "\n" + _STORAGE


def dagster_database_url(settings: Settings) -> str:
    """The URL for Dagster, whose driver is psycopg2, with its password; not for any file or message.

    Raises:
        InputError, UnavailableError: as for the catalog's URL.
    """
    from sqlalchemy import make_url

    from timestore_assets.catalog.open_catalog import database_url

    url = make_url(database_url(settings))
    given = url.query.get("options")
    options = f"{given} " if isinstance(given, str) else ""
    url = url.set(drivername="postgresql+psycopg2")
    return url.update_query_dict({"options": f"{options}-csearch_path={dagster_schema(settings)}"}).render_as_string(
        hide_password=False
    )


def make_schema(settings: Settings) -> None:
    """Make the schema, unless it is there: an administrator may have made it for a user who may not.

    Raises:
        InputError, UnavailableError: the database can't be used.
    """
    from sqlalchemy import Connection, inspect, text

    from timestore_assets.catalog.database import Database
    from timestore_assets.catalog.open_catalog import database_url

    schema = dagster_schema(settings)

    def make(connection: Connection) -> None:
        if not inspect(connection).has_schema(schema):
            connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))

    database = Database.open(database_url(settings), schema=schema)
    try:
        database.write(make)
    finally:
        database.close()


STOP_SECONDS = 15.0
"""How long a child may take to end by itself; a run that is committing needs some."""
LOG_LINES = 15


def prepare_home(settings: Settings, dagster_yaml: Path) -> dict[str, str]:
    """Make the Dagster home below TIMESTORE_HOME, with these settings, and return the environment that Dagster's processes need.

    With a catalog on PostgreSQL Dagster stores there too. The variable with its URL is then set for this process as well, which
    looks at Dagster's runs now and then.

    Raises:
        UnavailableError: the home can't be written. InputError, UnavailableError: the database can't be used.
    """
    home = settings.dagster_home
    try:
        make_folder(home)
        configuration = dagster_yaml.read_text(encoding="utf-8")
        if settings.is_on_postgres:
            configuration = with_storage(configuration)
        (home / "dagster.yaml").write_text(configuration, encoding="utf-8")
    except OSError as error:
        raise UnavailableError(f"{home} can't be written ({error.strerror}); set TIMESTORE_HOME to another folder") from None
    if settings.is_on_postgres:
        make_schema(settings)
        os.environ[URL_VARIABLE] = dagster_database_url(settings)
    return {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "TIMESTORE_HOME": str(settings.home_folder),
        "PYTHONUNBUFFERED": "1",
        "DO_NOT_TRACK": "1",
    }


def dagster_command(name: str, *arguments: str) -> list[str]:
    """The command line of `dagster-daemon` or `dagster-webserver` of this very Python.

    Raises:
        InputError: it is not installed beside this Python.
    """
    script = Path(sys.executable).parent / name
    if not script.exists():
        raise InputError(f"{name} is not installed beside {sys.executable}; install this package with its dependencies")
    return [str(script), *arguments]


def refuse_busy_port(port: int, *, host: str = "127.0.0.1", option: str = "--port") -> None:
    """Raises InputError when something already listens there, which Dagster would only say after a long start."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise InputError(f"port {port} needs rights that you don't have; choose one above 1023 with {option}") from None
        except OSError:
            raise InputError(f"port {port} is busy; stop what listens there or choose another with {option}") from None


class Child:
    """A process in a group of its own; its output goes to a log file, or to this terminal when `log` is None."""

    def __init__(
        self, name: str, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path | None = None
    ) -> None:
        self.name, self.command, self.log = name, tuple(command), log
        self._environment, self._folder = dict(environment), folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(self.log.open("wb")) if self.log else None
            self._process = subprocess.Popen(  # noqa: S603 - our own command line, no shell
                self.command,
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                start_new_session=True,
                umask=persons_umask(),  # what a person's own assets write elsewhere is theirs
            )

    @property
    def exit_code(self) -> int | None:
        """None while it runs, or was never started."""
        return self._process.poll() if self._process else None

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, at most so long; whether it has."""
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """End it and everything it started: asked first, killed when it doesn't listen."""
        if self._process is None:
            return
        for sign, patience in ((signal.SIGINT, STOP_SECONDS), (signal.SIGTERM, STOP_SECONDS / 3)):
            if self._signal_group(sign) and self.wait(patience):
                break
        self._signal_group(signal.SIGKILL)  # a code server or a run may outlive its parent
        self._process.wait()

    def log_tail(self, lines: int = LOG_LINES) -> str:
        """The last lines it wrote."""
        if self.log is None or not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def _signal_group(self, sign: signal.Signals) -> bool:
        assert self._process is not None  # noqa: S101 - only called once it runs
        try:
            os.killpg(self._process.pid, sign)
        except (ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
            return False
        return True


@contextlib.contextmanager
def running(*children: Child) -> Iterator[None]:
    """Start children and stop them when the block ends, however it ends; SIGTERM and SIGHUP end it like Ctrl-C."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        for child in children:
            child.start()
        yield
    finally:
        for number in (*previous, signal.SIGINT):  # a second Ctrl-C must not leave children behind
            previous.setdefault(number, signal.getsignal(number))
            signal.signal(number, signal.SIG_IGN)
        for child in children:
            child.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)
