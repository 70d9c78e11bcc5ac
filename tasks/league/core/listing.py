"""Which ids the API is asked for, and which of its answer count: pages, spans of time and years.

Riot lists a player's matches newest first, at most 100 a page, and filters by time only when it feels like it
(developer-relations 661 and 1134): what it lists for a year is therefore held against the games' own start.
"""

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlmodel import Session

from tasks.league.core.fetches import watermark

#: The most that `count` may be.
PAGE_SIZE = 100
#: League of Legends began in 2009; later than this no datetime goes.
FIRST_YEAR, LAST_YEAR = 2009, 9998

#: Asks for the UTC year that a game started in by yielding its match id; is sent None where that cannot be told.
YearQuestions = Generator[str, int | None, "YearPart"]


@dataclass(frozen=True)
class Span:
    """What to ask for as `startTime` and `endTime`, in epoch **seconds** (milliseconds silently give nothing)."""

    start_time: int | None = None
    end_time: int | None = None


def check_year(year: int | None) -> None:
    """Refuse what cannot be the year of a game.

    Raises:
        ValueError: the number is no year that League was played in.
    """
    if year is not None and not FIRST_YEAR <= year <= LAST_YEAR:
        raise ValueError(f"{year} is no year of League of Legends: give one from {FIRST_YEAR} on, or none for all")


def span_to_list(year: int | None, listed_at: datetime | None, *, overlap: timedelta) -> Span | None:
    """The span of time to list.

    Args:
        year: a UTC year, or None for all games.
        listed_at: when this was last listed to the end; None if never.
        overlap: how far before that to ask again, for games that were listed late.

    Returns:
        The span; None where nothing can be new: the year was over when it was last listed.

    Raises:
        ValueError: League was not played in that year.
    """
    check_year(year)
    since = None if listed_at is None else listed_at - overlap
    if year is None:
        return Span(start_time=None if since is None else _seconds(since))
    begin, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    if since is not None and since >= end:
        return None
    return Span(start_time=_seconds(begin if since is None else max(begin, since)), end_time=_seconds(end))


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


@dataclass
class Pages:
    """The pages of one listing, as they come.

    A game that ends meanwhile moves all others on by one, so that a page begins with what the last one ended with:
    nothing is lost by that, and no id is taken twice.
    """

    #: This was listed to the end before: a page of nothing but known ids has only known ones after it.
    incremental: bool = False
    #: `start` of the next page.
    start: int = 0
    #: All ids listed, newest first.
    ids: list[str] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def take(
        self, page: Sequence[str], known: Collection[str] = (), *, size: int | None = None
    ) -> tuple[list[str], bool]:
        """Take the page that was asked for.

        Args:
            page: what the API answered.
            known: those of its ids that were listed for this player before.
            size: what it had in all, where some of that was no match id.

        Returns:
            The ids that no page had before, and whether to ask for another page. A full last page needs one more, to
            be known as the last; a page without one new id is an answer that ignored `start`.
        """
        fresh = [match_id for match_id in dict.fromkeys(page) if match_id not in self._seen]
        self._seen.update(fresh)
        self.ids.extend(fresh)
        self.start += PAGE_SIZE
        nothing_new = self.incremental and set(page) <= set(known)
        return fresh, (len(page) if size is None else size) >= PAGE_SIZE and bool(fresh) and not nothing_new


@dataclass(frozen=True)
class YearPart:
    """The part of a page that is of the year."""

    ids: tuple[str, ...]
    #: The page ends before the year: whatever comes after it is older still.
    past: bool


def part_of_year(page: Sequence[str], year: int) -> YearQuestions:
    """Find the part of a page whose games started in a UTC year, asking for as few games' years as possible.

    The page is newest first, so that its ends tell all where the API did filter (both games are wanted anyhow), and
    some seven games more where it did not. Ids between two known ones whose own year cannot be told (404) count as
    the year's: better one too many than one forgotten.

    Args:
        page: match ids, newest first.
        year: the UTC year.

    Yields:
        A match id whose game's year is to be sent, or None where it cannot be told.
    """
    told: dict[int, int | None] = {}
    after, _ = yield from _border(page, told, lambda found: found <= year)
    last, past = yield from _border(page, told, lambda found: found < year)
    del last
    return YearPart(tuple(page[after + 1 : past]), past=past < len(page))


def _border(
    page: Sequence[str], told: dict[int, int | None], reached: Callable[[int], bool]
) -> Generator[str, int | None, tuple[int, int]]:
    """Between which two places of the page the years get to what `reached` says: the last not, the first that did."""
    low, high = -1, len(page)
    while True:
        for place, found in told.items():
            if found is not None and reached(found):
                high = min(high, place)
            elif found is not None:
                low = max(low, place)
        open_places = [place for place in range(low + 1, high) if place not in told]
        if not open_places:
            return low, high
        # The ends first: they settle whole pages.
        if high == len(page):
            place = open_places[-1]
        elif low == -1:
            place = open_places[0]
        else:
            place = open_places[len(open_places) // 2]
        told[place] = yield page[place]


def last_listed(session: Session, puuid: str, year: int | None) -> datetime | None:
    """When all games of the year (None: all games) were last listed; a listing of all games is one of each year."""
    marks = (watermark(session, puuid, each) for each in {year, None})
    return max((mark for mark in marks if mark is not None), default=None)
