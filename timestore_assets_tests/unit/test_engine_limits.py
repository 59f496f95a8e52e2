"""What one landing, build or query may use follows the settings, and else the cores that the process is bound to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from timestore_assets.segments.engine import EngineLimits
from timestore_assets.settings import Settings


@pytest.fixture
def bound_to_one_core() -> Iterator[None]:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this platform binds no process to cores")
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("there is one core only")
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def test_a_process_that_is_bound_to_one_core_takes_one_thread(bound_to_one_core: None, tmp_path: Path) -> None:
    assert EngineLimits.of(Settings(home=tmp_path)).threads == 1


def test_the_setting_goes_before_the_cores(bound_to_one_core: None, tmp_path: Path) -> None:
    assert EngineLimits.of(Settings(home=tmp_path, threads=3)).threads == 3
