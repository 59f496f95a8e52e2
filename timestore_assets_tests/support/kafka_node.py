"""One broker process: started with a watchdog so that it can't outlive the tests, asked to stop, or killed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from timestore_assets_tests.support.watched_process import WATCHED, end

STOP_SECONDS = 30.0
LOG_LINES = 40
_LOGGING = """rootLogger.level=warn
rootLogger.appenderRefs=out
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{HH:mm:ss,SSS} %p %c{1} %m%n
"""


class KafkaNode:
    """A Java process with a properties file and a data folder that stay the same from start to start."""

    def __init__(self, number: int, *, jars: Path, folder: Path, properties: dict[str, str], heap: str) -> None:
        self.number, self._jars, self._folder, self._heap = number, jars, folder, heap
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "broker.log"
        folder.mkdir(parents=True)
        self._settings = folder / "server.properties"
        lines = {**properties, "log.dirs": str(folder / "data")}
        self._settings.write_text("".join(f"{name}={value}\n" for name, value in lines.items()), encoding="utf-8")
        (folder / "log4j2.properties").write_text(_LOGGING, encoding="utf-8")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def begin_format(self, cluster_id: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start writing the empty storage; the caller waits for it."""
        tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._settings), *arguments]
        with self.log.open("ab") as log:
            return subprocess.Popen(self._java("64m", *tool), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start(self) -> None:
        command = self._java(self._heap, "kafka.Kafka", str(self._settings))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", WATCHED, "sh", *command], stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self, *, kill: bool = False) -> None:
        """End it, at once or by a controlled shutdown; a shutdown that takes too long is cut short."""
        process, self._process = self._process, None
        if process is not None:
            end(process, kill=kill, seconds=STOP_SECONDS)

    def delete_data(self) -> None:
        shutil.rmtree(self._folder / "data", ignore_errors=True)

    def log_tail(self) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-LOG_LINES:])

    def _java(self, heap: str, *arguments: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}"
        # a broker lives for seconds: compiling it well would cost more than it gives
        quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
        options = [f"-Xmx{heap}", *quick, "-Djava.awt.headless=true", logging]
        return ["java", *options, "-cp", f"{self._jars}/*", *arguments]
