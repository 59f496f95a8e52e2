"""A stream's checks are evaluated once a minute, other events' at once, and nothing that is owed is forgotten."""

from __future__ import annotations

from timestore_assets.orchestration.checks.checks import CheckPace


def test_a_stream_is_checked_once_a_minute() -> None:
    pace = CheckPace()
    assert pace.due((), ["a"], now=1000.0) == ["a"]
    assert pace.due((), ["a"], now=1030.0) == []
    assert pace.due((), (), now=1061.0) == ["a"], "what changed is checked though nothing follows"
    assert pace.due((), (), now=1200.0) == []


def test_other_events_are_checked_at_once() -> None:
    pace = CheckPace()
    pace.due((), ["a"], now=1000.0)
    assert pace.due(["a", "b"], (), now=1001.0) == ["a", "b"]
    assert pace.due((), ["b"], now=1002.0, at_once=True) == ["b"]


def test_the_cursor_keeps_what_is_owed() -> None:
    pace = CheckPace()
    pace.due((), ["a"], now=1000.0)
    pace.due((), ["a"], now=1001.0)
    again = CheckPace.parse(pace.cursor())
    assert again == pace
    assert again.due((), (), now=1060.0) == ["a"]
    for other in (None, "", "nonsense", "[]", '{"version": 0, "checked": 1}'):
        assert CheckPace.parse(other) == CheckPace()
