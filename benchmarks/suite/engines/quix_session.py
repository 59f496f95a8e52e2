"""QuixStreams over a topic: JSON decoded, one column checked, and written into Parquet files by its own sink.

    python benchmarks/suite/engines/quix_session.py SERVERS TOPIC RECORDS FOLDER

Runs in QuixStreams' environment, and prints JSON as the contenders of `benchmarks/streaming.py` do.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
from quixstreams import Application
from quixstreams.sinks.community.file.formats import ParquetFormat
from quixstreams.sinks.community.file.local import LocalFileSink


def main() -> None:
    servers, topic, records, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
    # what it logs is no answer
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        app = Application(
            broker_address=servers,
            consumer_group=f"quix-{folder.name}",
            auto_offset_reset="earliest",
            state_dir=folder / "state",
            loglevel="WARNING",
        )
        rows = app.dataframe(app.topic(topic, value_deserializer="json"))
        rows = rows.filter(lambda row: -50 <= row["temp"] <= 100)
        rows.sink(LocalFileSink(directory=str(folder / "out"), format=ParquetFormat()))
        began, spent = time.monotonic(), time.process_time()
        app.run(count=records, collect=False)
        told = {
            "seconds": time.monotonic() - began,
            "cpu": time.process_time() - spent,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        }
        stored = sum(pq.ParquetFile(path).metadata.num_rows for path in (folder / "out").rglob("*.parquet"))
        if stored < records:
            raise SystemExit(f"{records} records became {stored}")
        answers.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
