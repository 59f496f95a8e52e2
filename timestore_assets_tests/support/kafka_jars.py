"""Apache Kafka's jars, fetched once by the machine's Maven into a folder of the checkout that git ignores."""

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
from collections.abc import Iterator
from pathlib import Path

VERSION = "4.4.0"
LOG4J = "2.25.5"
FOLDER = Path(__file__).parents[2] / ".kafka"
FETCH_SECONDS = 200.0
OLDEST_JAVA = 17

# kafka-tools-api is named by the broker's pom, never published, and not needed to run it
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>timestore</groupId><artifactId>kafka-for-tests</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
      <exclusions>
        <exclusion><groupId>org.apache.kafka</groupId><artifactId>kafka-tools-api</artifactId></exclusion>
        <exclusion><groupId>org.apache.kafka</groupId><artifactId>kafka-streams</artifactId></exclusion>
        <exclusion><groupId>org.rocksdb</groupId><artifactId>rocksdbjni</artifactId></exclusion>
      </exclusions>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>{LOG4J}</version>
    </dependency>
  </dependencies>
</project>
"""


class NoKafkaError(Exception):
    """Apache Kafka can't be had on this machine; the text says why."""


@functools.cache
def kafka_jars() -> Path:
    """The folder with the broker's jars, fetched when it isn't there yet.

    Raises:
        NoKafkaError: Java or Maven is missing or too old, or the jars can't be fetched.
    """
    check_java()
    folder = FOLDER / VERSION
    FOLDER.mkdir(exist_ok=True)
    with locked(FOLDER / "lock"):
        if not (folder / ".complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _fetch(folder)
    return folder


def check_java() -> None:
    if shutil.which("java") is None:
        raise NoKafkaError("java is not installed")
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    if not found or int(found[1]) < OLDEST_JAVA:
        raise NoKafkaError(f"it wants Java {OLDEST_JAVA}, here is {said.splitlines()[0] if said else 'none that runs'}")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fetch(folder: Path) -> None:
    if shutil.which("mvn") is None:
        raise NoKafkaError("mvn is not installed")
    with tempfile.TemporaryDirectory(prefix=f"{VERSION}-", dir=FOLDER) as staged:
        pom, jars = Path(staged) / "pom.xml", Path(staged) / "jars"
        pom.write_text(_POM, encoding="utf-8")
        run_maven(pom, jars)
        if not list(jars.glob("kafka-server-*.jar")):
            raise NoKafkaError("mvn ended well and brought no broker")
        (jars / ".complete").touch()
        jars.rename(folder)


def run_maven(pom: Path, jars: Path) -> None:
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
    maven = subprocess.Popen(
        ["mvn", "-B", "-q", "-f", str(pom), *goal],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = maven.communicate(timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        raise NoKafkaError(f"mvn did not fetch its jars within {FETCH_SECONDS:.0f} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(maven.pid, signal.SIGKILL)
        maven.wait()
        if maven.stdout:
            maven.stdout.close()
    if maven.returncode:
        errors = [line for line in said.splitlines() if "[ERROR]" in line] or ["no reason given"]
        raise NoKafkaError("mvn failed: " + re.sub(r"\(?https?://\S+", "", errors[0].removeprefix("[ERROR] ")).strip())
