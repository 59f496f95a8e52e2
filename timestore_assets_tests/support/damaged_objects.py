"""Days of a dataset, landed and built for real, whose objects can be damaged and put right again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from timestore_assets.building.builder import Builder, BuildReport
from timestore_assets.model.dataset import SegmentPolicy
from timestore_assets.model.question import Question
from timestore_assets.model.segment import SegmentFormat
from timestore_assets.model.window import Partition
from timestore_assets.querying.reading.querier import Querier
from timestore_assets.upkeep.verify import VerifyReport, verify
from timestore_assets_tests.support.landing_warehouse import START, LandingWarehouse, dataset

Damage = tuple[str, float, int]
"""What is done, where in the file (0 to 1), and to which bit."""
DAMAGES: st.SearchStrategy[Damage] = st.tuples(
    st.sampled_from(["bit", "bit", "byte", "cut", "zeros", "longer", "empty"]),
    st.floats(min_value=0, max_value=1, exclude_max=True),
    st.integers(min_value=0, max_value=7),
)


def damaged(content: bytes, damage: Damage) -> bytes:
    """Other bytes than the content's."""
    how, where, bit = damage
    at, changed = int(where * len(content)), bytearray(content)
    if how == "bit":
        changed[at] ^= 1 << bit
    elif how == "byte":
        changed[at] ^= 0xFF
    elif how == "cut":
        return content[:at]
    elif how == "zeros":
        length = min(512, len(content) - at)
        changed[at : at + length] = bytes(length)
        changed[at] = content[at] ^ 1  # there may have been zeros before
    elif how == "longer":
        changed += b"\0" * (1 + bit)
    else:
        return b""
    return bytes(changed)


@dataclass(frozen=True, kw_only=True)
class DamageableWarehouse:
    ground: LandingWarehouse

    @classmethod
    def at(cls, root: Path, *, format: SegmentFormat = "parquet", rows: int = 400) -> DamageableWarehouse:
        """Two days of rows, and a refused record in each file."""
        made = cls(ground=LandingWarehouse.at(root, dataset(segments=SegmentPolicy(format=format))))
        for number in range(2):
            made.ground.land_one(f"{number}.csv", made.content(number, rows))
        return made

    @staticmethod
    def content(number: int, rows: int) -> str:
        first = START + timedelta(days=number)
        lines = [
            f"{first + timedelta(seconds=i):%Y-%m-%dT%H:%M:%SZ},station-{i * 37 % 101},{i * 0.37 % 40:.2f}" for i in range(rows)
        ]
        return "\n".join(["ts,station,temp", *lines, f"{first:%Y-%m-%d},x,not-a-number", ""])

    def partition(self, number: int) -> Partition:
        return self.ground.dataset.window.partition(START + timedelta(days=number))

    def build(self, number: int) -> BuildReport:
        with Builder(self.ground.context) as builder:
            return builder.build(self.ground.dataset, self.partition(number), close=True, actor="test")

    def verify(self) -> VerifyReport:
        return verify(self.ground.catalog, self.ground.storage, self.ground.limits, self.ground.record)

    def segment(self, number: int) -> str:
        """Name of the day's only segment."""
        [found] = self.ground.catalog.manifest.segments(self.ground.record.id, partition=self.partition(number))
        return found.name

    def letters(self) -> str:
        """Name of the first file of dead letters."""
        return self.ground.catalog.dead_letters.of(self.ground.record.id)[0][1].name

    def rows(self) -> list[dict[str, Any]]:
        """What a query answers."""
        querier = Querier(self.ground.catalog, self.ground.storage, self.ground.limits, holder="test")
        try:
            with querier.ask(self.ground.dataset, self.ground.record, Question(dataset=self.ground.dataset.name)) as answer:
                return answer.table().to_pylist()
        finally:
            querier.close()

    @contextmanager
    def spoilt(self, name: str, damage: Damage) -> Iterator[None]:
        """The object with damage inside the `with`, and as it was behind it."""
        path = self.ground.store.local_path(name)
        content = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(damaged(content, damage))
        try:
            yield
        finally:
            path.write_bytes(content)
