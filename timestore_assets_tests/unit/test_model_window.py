from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timestore_assets.model.errors import InputError
from timestore_assets.model.window import Window, format_duration, format_time, parse_duration, parse_time, utc

times = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.just(UTC))


ENDING = [window for window in Window if window is not Window.ALL]


@given(times, st.sampled_from(ENDING))
def test_a_time_lies_in_its_partition_and_the_key_leads_back(time: datetime, window: Window) -> None:
    partition = window.partition(time)
    assert partition.start <= time < partition.end
    assert window.parse_key(partition.key) == partition
    assert window.partition(partition.end).start == partition.end


@given(times, st.sampled_from(ENDING))
def test_partitions_between_are_contiguous_and_cover(time: datetime, window: Window) -> None:
    found = list(window.between(time, time + timedelta(days=40)))
    assert found[0].start <= time
    assert found[-1].end >= time + timedelta(days=40)
    assert all(a.end == b.start for a, b in pairwise(found))


def test_weeks_start_on_monday_and_months_have_their_own_lengths() -> None:
    assert Window.WEEK.partition(datetime(2013, 1, 6, tzinfo=UTC)).key == "2012-12-31"
    lengths = [
        (p.end - p.start).days for p in Window.MONTH.between(datetime(2016, 1, 1, tzinfo=UTC), datetime(2016, 4, 1, tzinfo=UTC))
    ]
    assert lengths == [31, 29, 31]


def test_a_year_begins_in_january_and_all_times_are_in_all() -> None:
    leap = datetime(2016, 2, 29, 13, tzinfo=UTC)
    year = Window.YEAR.partition(leap)
    assert (year.key, year.end) == ("2016-01-01", datetime(2017, 1, 1, tzinfo=UTC))
    assert Window.YEAR.before(year.start) == datetime(2015, 1, 1, tzinfo=UTC)
    whole = Window.ALL.partition(leap)
    assert (whole.key, whole.path_name, Window.ALL.parse_key("all")) == ("all", "all", whole)
    assert whole.start <= datetime(1, 1, 1, tzinfo=UTC)
    assert list(Window.ALL.between(leap, leap + timedelta(days=9000))) == [whole]
    assert Window.ALL.before(whole.start) == whole.start
    assert whole.end + timedelta(days=1000 * 365) > whole.end  # the longest duration can be added


@pytest.mark.parametrize(
    ("window", "key", "says"),
    [
        (Window.DAY, "2013-1-1", "write it like"),
        (Window.DAY, "2013-02-30", "write it like"),
        (Window.HOUR, "2013-01-01", "write it like"),
        (Window.WEEK, "2013-01-01", "2012-12-31"),
        (Window.MONTH, "2013-01-02", "2013-01-01"),
        (Window.DAY, "0000-00-00", "write it like"),
        (Window.YEAR, "2013-02-01", "2013-01-01"),
        (Window.YEAR, "all", "write it like"),
        (Window.ALL, "2013-01-01", "write it like 'all'"),
    ],
)
def test_a_wrong_key_is_refused_with_the_right_one(window: Window, key: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        window.parse_key(key)


def test_naive_times_are_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        utc(datetime(2013, 1, 1))
    with pytest.raises(ValueError, match="no time zone"):
        Window.DAY.partition(datetime(2013, 1, 1))


def test_a_zoned_time_counts_in_utc() -> None:
    eastern = datetime(2013, 1, 1, 22, tzinfo=timezone(timedelta(hours=-5)))
    assert Window.DAY.partition(eastern).key == "2013-01-02"
    assert format_time(eastern) == "2013-01-02T03:00:00Z"


@pytest.mark.parametrize("text", ["0s", "90s", "90m", "36h", "3d", "2w", "5y", "365w"])
def test_a_duration_is_written_as_it_is_read(text: str) -> None:
    assert format_duration(parse_duration(text)) == ("7y" if text == "365w" else text)


def test_durations_and_times() -> None:
    assert parse_duration("90m") == timedelta(minutes=90)
    assert parse_time("2013-01-01") == datetime(2013, 1, 1, tzinfo=UTC)
    assert parse_time("2013-01-01T01:00:00+01:00") == datetime(2013, 1, 1, tzinfo=UTC)
    for wrong in ("", "1x", "-1d", "1.5h"):
        with pytest.raises(InputError):
            parse_duration(wrong)
    with pytest.raises(InputError):
        parse_time("yesterday")
    with pytest.raises(InputError, match="outside the years"):
        parse_time("0001-01-01T00:00+02:00")
