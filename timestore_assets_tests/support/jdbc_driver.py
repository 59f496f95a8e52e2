"""Arrow's JDBC driver for Flight SQL, fetched once by the machine's Maven into a folder of the checkout that git ignores."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path

from timestore_assets_tests.support.kafka_jars import NoKafkaError, check_java, locked, run_maven

VERSION = "18.3.0"
FOLDER = Path(__file__).parents[2] / ".jdbc"
PROGRAM = Path(__file__).with_name("AskByJdbc.java")
SECONDS = 150.0

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>timestore</groupId><artifactId>jdbc-for-tests</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.arrow</groupId><artifactId>flight-sql-jdbc-driver</artifactId><version>{VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


class NoDriverError(Exception):
    """The driver can't be had on this machine; the text says why."""


@functools.cache
def jdbc_driver() -> Path:
    """The driver's jar; NoDriverError when Java or Maven is missing or too old, or it can't be fetched."""
    jar = FOLDER / f"flight-sql-jdbc-driver-{VERSION}.jar"
    try:
        check_java()
        FOLDER.mkdir(exist_ok=True)
        with locked(FOLDER / "lock"):
            if not jar.exists():
                with tempfile.TemporaryDirectory(dir=FOLDER) as staged:
                    pom, jars = Path(staged) / "pom.xml", Path(staged) / "jars"
                    pom.write_text(_POM, encoding="utf-8")
                    run_maven(pom, jars)
                    (jars / jar.name).rename(jar)
    except (NoKafkaError, OSError) as error:
        raise NoDriverError(f"Arrow's JDBC driver can't be had: {error}") from None
    return jar


def asked_by_jdbc(place: str) -> list[str]:
    """What `AskByJdbc.java` says of a service, line by line. `place`: `grpc://HOST:PORT`."""
    url = place.replace("grpc://", "jdbc:arrow-flight-sql://") + "?useEncryption=false"
    opened = "--add-opens=java.base/java.nio=ALL-UNNAMED"
    done = subprocess.run(
        ["java", opened, "-cp", str(jdbc_driver()), str(PROGRAM), url],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout.splitlines()
