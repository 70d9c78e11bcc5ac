"""Schedules: nights, days, time zones and the days the clocks change."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.dicom.core.rules.schedules import Schedule, TimeRange


def is_on(moment: str, zone: str = "UTC", **part: object) -> bool:
    schedule = Schedule.model_validate({"time_zone": zone, "ranges": [part]})
    return schedule.is_on(datetime.fromisoformat(moment).replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("moment", "on"),
    [
        ("2024-05-17T21:59:59", False),  # Friday
        ("2024-05-17T22:00:00", True),
        ("2024-05-18T05:59:59", True),
        ("2024-05-18T06:00:00", False),
        ("2024-05-18T22:30:00", False),
        ("2024-05-17T05:00:00", False),
    ],
)
def test_a_night_belongs_to_the_day_it_starts(moment: str, on: bool) -> None:
    assert is_on(moment, days=["fri"], start="22:00", end="06:00") is on


@pytest.mark.parametrize(
    ("moment", "on"),
    [("2024-05-17T08:00:00", True), ("2024-05-17T17:00:00", False), ("2024-05-17T07:59:59", False)],
)
def test_a_day(moment: str, on: bool) -> None:
    assert is_on(moment, start="08:00", end="17:00") is on


def test_without_times_a_range_is_the_whole_day() -> None:
    assert is_on("2024-05-18T00:00:00", days=["sat"])
    assert is_on("2024-05-18T23:59:59", days=["Saturday"])
    assert not is_on("2024-05-19T00:00:00", days=["sat"])


def test_equal_times_are_a_whole_day_from_then() -> None:
    assert is_on("2024-05-18T05:00:00", days=["fri"], start="06:00", end="06:00")
    assert not is_on("2024-05-18T06:00:00", days=["fri"], start="06:00", end="06:00")


@pytest.mark.parametrize(
    ("moment", "on"),
    [
        ("2024-01-15T07:30:00", True),  # 08:30 in winter
        ("2024-07-15T06:30:00", True),  # 08:30 in summer
        ("2024-07-15T05:30:00", False),
        ("2024-01-15T06:30:00", False),
    ],
)
def test_time_zones_know_summer(moment: str, on: bool) -> None:
    assert is_on(moment, "Europe/Berlin", start="08:00", end="12:00") is on


def test_the_day_is_the_zones_day() -> None:
    assert is_on("2024-05-17T22:30:00", "Asia/Tokyo", days=["sat"])


def test_not_enabled_is_always_on() -> None:
    schedule = Schedule.model_validate(
        {"enabled": False, "ranges": [{"days": ["mon"], "start": "00:00", "end": "00:01"}]}
    )
    assert schedule.is_on(datetime(2024, 5, 18, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    "wrong",
    [
        {"ranges": []},
        {"ranges": [{"days": []}]},
        {"ranges": [{"days": ["someday"]}]},
        {"ranges": [{"start": "8:00"}]},
        {"ranges": [{"end": "24:01"}]},
        {"time_zone": "Europe/Atlantis", "ranges": [{}]},
        {"time_zone": "../../etc/passwd", "ranges": [{}]},
    ],
)
def test_wrong_schedules(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Schedule.model_validate(wrong)


@given(
    start=st.integers(0, 86399),
    end=st.integers(0, 86399),
    moment=st.datetimes(),
)
def test_a_range_and_its_complement_cover_the_day(start: int, end: int, moment: datetime) -> None:
    if start == end:
        return
    first, second = (str(timedelta(seconds=value)).zfill(8) for value in (start, end))
    inside = TimeRange(start=first, end=second).holds(moment)
    outside = TimeRange(start=second, end=first).holds(moment)
    assert inside is not outside
