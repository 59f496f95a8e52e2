"""What is kept of an answer equals what would be computed, whatever lands, is built, is taken out or migrated in between."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from timestore_assets.model.errors import InputError, RefusedError, TimestoreError
from timestore_assets.model.row_selector import FileRows
from timestore_assets.querying.sql.sandbox import run_sql
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.dagster_deployment import DECLARATION
from timestore_assets_tests.support.examples import examples
from timestore_assets_tests.support.migrations import manifest, transform

STATEMENTS: Sequence[tuple[str, dict[str, Any]]] = (
    ("SELECT * FROM readings ORDER BY ALL", {}),
    ("SELECT device, count(*) AS n, max(value) AS most FROM readings GROUP BY ALL ORDER BY ALL", {}),
    ("SELECT value FROM readings WHERE device = $device ORDER BY ALL", {"device": "a"}),
    ("SELECT value FROM readings WHERE device = $device ORDER BY ALL", {"device": "b"}),
    ("SELECT count(*) AS n FROM readings WHERE value > $least", {"least": 2}),
    ("SELECT count(*) AS n FROM readings WHERE value > $least", {"least": 2.5}),
)
Answers = list[list[dict[str, Any]] | str]


class Ground:
    """A warehouse that changes, and what is said about it."""

    def __init__(self, folder: Path) -> None:
        declared = folder / "home" / "defs" / "readings" / "defs.yaml"
        declared.parent.mkdir(parents=True)
        declared.write_text(DECLARATION, encoding="utf-8")
        self.folder, self.files, self.is_migrated = folder, list[Path](), False
        self.warehouse = Warehouse.open(Settings(home=folder / "home"))
        self.land(1)

    def land(self, day: int) -> None:
        number = len(self.files)
        path = self.folder / f"{number}.csv"
        rows = [f"{device},2024-01-{day:02d}T{number % 24:02d}:00:00Z,{number}" for device in "ab"]
        path.write_text("\n".join(["device,at,value", *rows, ""]))
        self.warehouse.land("readings", [path])
        self.files.append(path)

    def build(self, day: int) -> None:
        parts = [one.partition for one in self.warehouse.partitions("readings") if one.partition.start.day == day]
        list(self.warehouse.build("readings", parts, close=False))

    def retract(self, day: int) -> None:
        self.warehouse.retract("readings", FileRows(address=str(self.files[day % len(self.files)])))

    def migrate(self, _day: int) -> None:
        if not self.is_migrated:
            self.warehouse.migrate(manifest("readings", transform("value", "value + 100")), actor="ann")
            self.is_migrated = True

    def kept(self) -> Answers:
        return self._each(lambda text, given: self.warehouse.sql(text, given))

    def computed(self) -> Answers:
        datasets = {"readings": self.warehouse.resolve("readings")}
        return self._each(lambda text, given: run_sql(self.warehouse.querier, text, datasets, parameters=given))

    def _each(self, ask: Callable[[str, dict[str, Any]], Any]) -> Answers:
        found: Answers = []
        for text, values in STATEMENTS:
            try:
                with ask(text, values) as answer:
                    found.append(answer.table().to_pylist())
            except TimestoreError as error:
                found.append(str(error))
        return found


CHANGES = st.tuples(st.sampled_from(["land", "build", "retract", "migrate", "nothing"]), st.integers(1, 3))


@settings(max_examples=examples(6), deadline=None)
@given(changes=st.lists(CHANGES, min_size=2, max_size=6))
def test_kept_answers_equal_computed_ones(changes: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        ground = Ground(Path(name))
        with closing(ground.warehouse):
            for change, day in changes:
                if change != "nothing":
                    with suppress(InputError, RefusedError):  # what is retracted already can't be once more
                        getattr(ground, change)(day)
                first = ground.kept()
                before = ground.warehouse.answers.found
                again = ground.kept()
                assert first == again == ground.computed()
                assert ground.warehouse.answers.found == before + len(STATEMENTS), "all of them were kept"
