"""Programs that speak the protocols of object stores, fetched once into a folder of the checkout that git ignores.

`python -m timestore_assets_tests.object_server_binaries` fetches them ahead of the tests: the first build takes minutes.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

FOLDER = Path(__file__).parent.parent / ".object-servers"
VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
FAKE_GCS_SERVER = "github.com/fsouza/fake-gcs-server@v1.56.1"
AZURITE = "azurite@3.35.0"
# below the time limit of a test, in whose setup the fetch may happen
FETCH_SECONDS = 240.0


class NoObjectServerError(Exception):
    """The program can't be had on this machine; the text says why."""


@functools.cache
def versitygw() -> Path:
    """An S3 server over a folder.

    Raises:
        NoObjectServerError: Go is missing, or the build fails or takes too long (the next try goes on where it ended).
    """
    return _built("versitygw", VERSITYGW)


@functools.cache
def fake_gcs_server() -> Path:
    """A Google Cloud Storage server. Raises: as `versitygw`."""
    return _built("fake-gcs-server", FAKE_GCS_SERVER)


@functools.cache
def azurite() -> Path:
    """The script of an Azure Blob server, for `node`.

    Raises:
        NoObjectServerError: Node.js or npm is missing, or the packages can't be fetched.
    """
    if shutil.which("node") is None:
        raise NoObjectServerError("node is not installed")
    with _staging(AZURITE, needs="npm") as (folder, staged):
        if staged is not None:
            options = ["--omit=dev", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save"]
            _run(["npm", "install", *options, "--prefix", str(staged), AZURITE], "npm")
    return folder / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


def _built(name: str, module: str) -> Path:
    with _staging(module, needs="go") as (folder, staged):
        if staged is not None:
            _run(["go", "install", "-trimpath", "-p", "2", module], "go", {"GOBIN": str(staged)})
    return folder / name


@contextlib.contextmanager
def _staging(what: str, *, needs: str) -> Iterator[tuple[Path, Path | None]]:
    """The folder of this program and, if it isn't there yet, one to fill that becomes it when the block ends well."""
    folder = FOLDER / what.replace("/", "_")
    if folder.exists():
        yield folder, None
        return
    if shutil.which(needs) is None:
        raise NoObjectServerError(f"{needs} is not installed")
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            yield folder, None
            return
        with tempfile.TemporaryDirectory(prefix="staged-", dir=FOLDER) as parent:
            staged = Path(parent) / "new"
            staged.mkdir()
            yield folder, staged
            staged.rename(folder)


def _run(command: Sequence[str], name: str, environment: Mapping[str, str] | None = None) -> None:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        raise NoObjectServerError(f"{name} was not done within {FETCH_SECONDS:.0f} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()
    if process.returncode:
        lines = [line for line in said.splitlines() if line.strip()] or ["no reason given"]
        raise NoObjectServerError(f"{name} failed: " + re.sub(r"\(?https?://\S+", "", lines[-1]).strip())


if __name__ == "__main__":
    for program in (versitygw, fake_gcs_server, azurite):
        print(program())
