"""Programs that speak the protocols of object stores, fetched once into a folder of the checkout that git ignores.

The first build takes minutes. A session of tests begins it beside its first tests (`fetching`); to have it done ahead:
`python -m timestore_assets_tests.support.object_server_binaries`.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import Popen, TimeoutExpired

from timestore_assets_tests.support.watched_process import POLL_SECONDS, watched

FOLDER = Path(__file__).parents[2] / ".object-servers"
VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
FAKE_GCS_SERVER = "github.com/fsouza/fake-gcs-server@v1.56.1"
AZURITE = "azurite@3.35.0"
FETCH_SECONDS = 1200.0
# below the time limit of a test, in whose setup it is waited for
WAIT_SECONDS = 240.0


class NoObjectServerError(Exception):
    """The program can't be had on this machine; the text says why."""


@functools.cache
def versitygw(seconds: float = WAIT_SECONDS) -> Path:
    """An S3 server over a folder, which others or we fetch within so many seconds.

    Raises:
        NoObjectServerError: Go is missing, or the build fails or takes too long (the next try goes on where it ended).
    """
    return _built("versitygw", VERSITYGW, seconds)


@functools.cache
def fake_gcs_server(seconds: float = WAIT_SECONDS) -> Path:
    """A Google Cloud Storage server. Raises: as `versitygw`."""
    return _built("fake-gcs-server", FAKE_GCS_SERVER, seconds)


@functools.cache
def azurite(seconds: float = WAIT_SECONDS) -> Path:
    """The script of an Azure Blob server, for `node`.

    Raises:
        NoObjectServerError: Node.js or npm is missing, or the packages can't be fetched.
    """
    if shutil.which("node") is None:
        raise NoObjectServerError("node is not installed")
    with _staging(AZURITE, needs="npm", seconds=seconds) as (folder, staged):
        if staged is not None:
            options = ["--omit=dev", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save"]
            _run(["npm", "install", *options, "--prefix", str(staged), AZURITE], "npm", seconds)
    return folder / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


PROGRAMS: Mapping[str, tuple[str, Callable[[float], Path]]] = {
    "versitygw": (VERSITYGW, versitygw),
    "fake-gcs-server": (FAKE_GCS_SERVER, fake_gcs_server),
    "azurite": (AZURITE, azurite),
}
"""By name: what is fetched, and by what."""


def missing(programs: Iterable[str]) -> list[str]:
    """Those of the programs that would have to be fetched."""
    return [name for name in programs if not _folder(PROGRAMS[name][0]).exists()]


def fetching(programs: Sequence[str]) -> AbstractContextManager[Popen[bytes]]:
    """A process that fetches the programs while the block lasts, behind whatever else the machine has to do."""
    FOLDER.mkdir(exist_ok=True)
    command = ["nice", sys.executable, "-m", __name__, *programs]
    root = str(Path(__file__).parents[2])
    return watched(command, log=FOLDER / "fetching.log", environment={"PYTHONPATH": root})


def fetch(programs: Iterable[str]) -> None:
    """Fetch them one after the other and say where each is, or why it can't be had."""
    for name in programs:
        try:
            print(PROGRAMS[name][1](FETCH_SECONDS))
        except NoObjectServerError as reason:
            print(f"{name}: {reason}")


def _built(name: str, module: str, seconds: float) -> Path:
    with _staging(module, needs="go", seconds=seconds) as (folder, staged):
        if staged is not None:
            _run(["go", "install", "-trimpath", "-p", "2", module], "go", seconds, {"GOBIN": str(staged)})
    return folder / name


def _folder(what: str) -> Path:
    return FOLDER / what.replace("/", "_")


@contextlib.contextmanager
def _staging(what: str, *, needs: str, seconds: float) -> Iterator[tuple[Path, Path | None]]:
    """The folder of this program and, if it isn't there yet, one to fill that becomes it when the block ends well."""
    folder = _folder(what)
    if folder.exists():
        yield folder, None
        return
    if shutil.which(needs) is None:
        raise NoObjectServerError(f"{needs} is not installed")
    FOLDER.mkdir(exist_ok=True)
    with _locked(FOLDER / f"{folder.name}.lock", seconds):
        if folder.exists():
            yield folder, None
            return
        with tempfile.TemporaryDirectory(prefix="staged-", dir=FOLDER) as parent:
            staged = Path(parent) / "new"
            staged.mkdir()
            yield folder, staged
            staged.rename(folder)


@contextlib.contextmanager
def _locked(path: Path, seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise NoObjectServerError(f"another process did not have it within {seconds:.0f} s") from None
                time.sleep(POLL_SECONDS)
            else:
                break
        yield


def _run(command: Sequence[str], name: str, seconds: float, environment: Mapping[str, str] | None = None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with watched(command, log=log, environment=environment) as process:
            try:
                code = process.wait(seconds)
            except TimeoutExpired:
                raise NoObjectServerError(f"{name} was not done within {seconds:.0f} s") from None
        if code:
            said = log.read_text(encoding="utf-8", errors="replace")
            lines = [line for line in said.splitlines() if line.strip()] or ["no reason given"]
            raise NoObjectServerError(f"{name} failed: " + re.sub(r"\(?https?://\S+", "", lines[-1]).strip())


if __name__ == "__main__":
    # whoever is asked to end takes along what it has started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    fetch(sys.argv[1:] or PROGRAMS)
