"""I1, I2, I4: however landing, mending and replaying take turns, each record ends where landing all at the end would put it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timestore_assets.model.dataset import Evolution, Late
from timestore_assets_tests.support.dead_letter_replays import (
    FILES,
    POISON,
    STRICT,
    Message,
    land_topic,
    lines_of,
    mended,
    replay,
)
from timestore_assets_tests.support.examples import examples
from timestore_assets_tests.support.landing_warehouse import NOW, LandingWarehouse

HOLDING = replace(STRICT, late=Late(policy="hold"))
HALF = replace(mended(HOLDING), evolution=Evolution(columns="discard_row"), start=HOLDING.start)
WHOLE = mended(HOLDING)

Step = Literal[
    "land a file", "land a topic", "land late", "half mend", "mend", "replay", "replay checks", "replay all", "refuse held"
]
STEPS = st.lists(st.sampled_from(get_args(Step)), max_size=9)
RECORDS = st.lists(st.sampled_from([*POISON, "good", "good", "good"]), min_size=1, max_size=14)


def document(kind: str, number: int) -> bytes | None:
    """A record of that kind that says its number where it can."""
    if kind == "good":
        return json.dumps({"ts": f"2013-03-{number % 28 + 1:02}", "station": f"s{number}", "n": number}).encode()
    raw = POISON[kind]
    # blanks at the end make every record another, so that no file is a copy of another
    return raw.replace(b'"A"', f'"s{number}"'.encode()) + b" " * number if raw is not None else None


@dataclass
class Play:
    """A warehouse in which the steps happen; `rest`: what is not landed yet."""

    ground: LandingWarehouse
    rest: list[tuple[int, str]]
    offset: int = 0
    files: int = 0

    def do(self, step: str) -> None:
        match step:
            case "land a file":
                self.land_file(4)
            case "land a topic":
                self.land_topic(5)
            case "land late":
                self.land_topic(5, late_before=NOW - timedelta(days=90))
            case "half mend":
                if self.ground.dataset is HOLDING:
                    self.ground = self.ground.with_dataset(HALF)
            case "mend":
                self.ground = self.ground.with_dataset(WHOLE)
            case "refuse held":
                if self.ground.catalog.datasets.find(self.ground.dataset.name) is not None:
                    self.ground.catalog.dead_letters.refuse_held(self.ground.record.id, None, actor="test")
            case _:
                code = "failed_check" if step == "replay checks" else None
                self.replay(code=code, kind=None if step == "replay all" else "refused")

    def take(self, count: int) -> list[bytes | None]:
        taken, self.rest = self.rest[:count], self.rest[count:]
        return [document(kind, number) for number, kind in taken]

    def land_file(self, count: int) -> None:
        values = self.take(count)
        if not lines_of(values):
            # what no file can hold comes by the topic
            self.produce(values)
            return
        source = replace(self.ground.dataset.file_sources[0], format="jsonl")
        self.files += 1
        replace(self.ground, source=source).land_one(f"{self.files}.jsonl", lines_of(values))
        self.produce([value for value in values if value is None])

    def land_topic(self, count: int, **late: Any) -> None:
        self.produce(self.take(count), **late)

    def produce(self, values: Sequence[bytes | None], **late: Any) -> None:
        if values:
            messages = [Message(value=value, offset=self.offset + at) for at, value in enumerate(values)]
            self.offset += len(values)
            land_topic(self.ground, messages, source=self.ground.dataset.kafka_sources[0], **late)

    def replay(self, **selection: Any) -> None:
        if self.ground.catalog.datasets.find(self.ground.dataset.name) is not None:
            replay(self.ground, **selection)

    def check(self, read: int) -> None:
        """Each record that was read is in exactly one place."""
        if self.ground.catalog.datasets.find(self.ground.dataset.name) is None:
            return
        counters = self.ground.counters()
        assert counters.balanced
        assert counters.read == read
        letters = self.ground.letters()
        by_kind = [sum(letter.kind == kind for letter in letters) for kind in ("refused", "late_dropped", "held")]
        assert by_kind == [counters.dead_letters, counters.late_dropped, counters.held]
        ledger = self.ground.catalog.late.of(self.ground.record.id, window=self.ground.dataset.window)
        assert sum(one.rows for one in ledger if one.disposition == "held") == counters.held
        assert sum(one.rows for one in ledger if one.disposition == "dropped") == counters.late_dropped
        catalog, sources = self.ground.catalog, self.ground.catalog.sources.of(self.ground.record.id)
        in_files = [file.counters for source in sources for file in catalog.files.of(source.id)]
        assert all(one.balanced and min(number for _, number in one.items()) >= 0 for one in in_files)
        from_files = sum(letter.source.endswith(".jsonl") for letter in letters)
        assert sum(one.dead_letters for one in in_files) == from_files
        places = self.ground.places()
        assert len(places) == counters.landed
        assert counters.duplicates == 0
        assert len({*places, *((one.source_partition, one.position) for one in letters)}) == read


@settings(max_examples=examples(8), deadline=None, suppress_health_check=list(HealthCheck))
@given(kinds=RECORDS, steps=STEPS)
def test_every_record_is_accounted_for_once_and_ends_where_it_belongs(kinds: list[str], steps: list[str]) -> None:
    records = list(enumerate(kinds))
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        played = Play(ground=LandingWarehouse.at(Path(one), HOLDING, source=FILES), rest=list(records))
        for step in steps:
            played.do(step)
            played.check(len(records) - len(played.rest))
        played.land_topic(len(records))
        played.do("mend")
        played.do("replay all")
        played.check(len(records))
        expected = Play(ground=LandingWarehouse.at(Path(other), WHOLE, source=FILES), rest=list(records))
        expected.land_topic(len(records))
        assert sorted(played.ground.codes()) == sorted(expected.ground.codes())
        assert played.ground.content_hash() == expected.ground.content_hash()
        before = played.ground.counters()
        played.do("replay all")
        assert played.ground.counters() == before
        played.check(len(records))
        for ground in (played.ground, expected.ground):
            ground.catalog.close()
