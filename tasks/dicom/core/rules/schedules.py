"""When a rule is on: times of day on days of the week, in a time zone of its own."""

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?|24:00(?::00)?")


class Day(StrEnum):
    """A day of the week."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


_DAYS = list(Day)


def _time_of_day(text: str) -> str:
    if not _TIME.fullmatch(text):
        raise ValueError("no time of day (HH:MM, 00:00 to 24:00)")
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"no time zone {name!r} (use names like Europe/Berlin)") from error
    return name


TimeOfDay = Annotated[str, AfterValidator(_time_of_day)]
TimeZone = Annotated[str, AfterValidator(_zone)]


def _seconds(text: str) -> int:
    hours, minutes, *seconds = (int(part) for part in text.split(":"))
    return hours * 3600 + minutes * 60 + sum(seconds)


class TimeRange(BaseModel):
    """From `start` to before `end`. An end not after the start is on the next day; days are those of the start."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: list[Day] = Field(_DAYS, min_length=1)
    start: TimeOfDay = "00:00"
    end: TimeOfDay = "24:00"

    @field_validator("days", mode="before")
    @classmethod
    def _short_lower(cls, days: object) -> object:
        if isinstance(days, list):
            return [day[:3].lower() if isinstance(day, str) and day.lower() in _LONG_DAYS else day for day in days]
        return days

    def holds(self, local: datetime) -> bool:
        """Whether a local wall time is in the range."""
        start, end = _seconds(self.start), _seconds(self.end)
        now = local.hour * 3600 + local.minute * 60 + local.second
        if start < end:
            return start <= now < end and _DAYS[local.weekday()] in self.days
        if now >= start:
            return _DAYS[local.weekday()] in self.days
        yesterday = _DAYS[(local - timedelta(days=1)).weekday()]
        return now < end and yesterday in self.days


_LONG_DAYS = {
    name
    for day in ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    for name in (day, day[:3])
}


class Schedule(BaseModel):
    """A rule is on when any range holds. Without a schedule, or with one that is not enabled, it is always on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    time_zone: TimeZone = "UTC"
    ranges: list[TimeRange] = Field(min_length=1)

    def is_on(self, now: datetime) -> bool:
        """Whether a rule with this schedule is on at an aware moment."""
        if not self.enabled:
            return True
        local = now.astimezone(ZoneInfo(self.time_zone))
        return any(part.holds(local) for part in self.ranges)
