"""What `order: strict` means, record by record in plain Python, and records to try it with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from timestore_assets_tests.support.landing_warehouse import START, LandingWarehouse, columns, dataset

IN_ORDER = dataset(*columns(n="int64?"), order="strict", partition_by=("station",))
"""Each station has an order of its own."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A record, told from others by its `number`. `is_bad`: it is refused for its temperature. `note`: of no declared column."""

    number: int
    station: str
    hour: int
    source: int = 0
    is_bad: bool = False
    note: int | float | str | None = None

    @property
    def record(self) -> dict[str, object]:
        at = (START + timedelta(hours=self.hour)).isoformat()
        plain = {"ts": at, "station": self.station, "n": self.number, "temp": 1000 if self.is_bad else 1}
        return plain if self.note is None else {**plain, "note": self.note}

    @property
    def value(self) -> bytes:
        return json.dumps(self.record).encode()


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Numbers of readings by what becomes of them."""

    landed: Sequence[int]
    out_of_order: Sequence[int]
    bad: Sequence[int]


def judged(readings: Iterable[Reading]) -> Judged:
    """What becomes of readings that arrive in this order in their sources."""
    newest: dict[tuple[int, str], int] = {}
    landed, behind, bad = [], [], []
    for one in readings:
        key = (one.source, one.station)
        if one.is_bad:
            bad.append(one.number)
        elif one.hour < newest.get(key, one.hour):
            behind.append(one.number)
        else:
            newest[key] = one.hour
            landed.append(one.number)
    return Judged(landed=sorted(landed), out_of_order=sorted(behind), bad=sorted(bad))


def found(warehouse: LandingWarehouse) -> Judged:
    """What has become of them in a warehouse; its counters add up to that."""
    letters = [(one.code, json.loads(one.raw or b"{}")["n"]) for one in warehouse.letters()]
    landed = sorted(row[0] for row in warehouse.rows("n"))
    counters = warehouse.counters()
    assert counters.balanced
    assert (counters.landed, counters.dead_letters) == (len(landed), len(letters))
    return Judged(
        landed=landed,
        out_of_order=sorted(number for code, number in letters if code == "out_of_order"),
        bad=sorted(number for code, number in letters if code == "failed_check"),
    )
