"""What was listed is fetched until it is stored, later each time it fails, and never forgotten."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import select

from blocks.engine import session
from tasks.foundation.core.backoff import equal_jitter
from tasks.league.core import fetches, players
from tasks.league.core.storing import remove_match, store_match
from tasks.league.core.tables import Fetch, FetchKind, FetchState, Listing
from tests.league.core.ledgers import NOW, text_of_ledger
from tests.league.payloads import match_body, puuid

ME, OTHER = puuid(1), puuid(2)
_WAIT: dict[str, Any] = {"base_seconds": 3600, "cap_seconds": 30 * 86_400, "uniform": lambda low, _high: low}
_LATER = NOW + timedelta(days=365)


def _known(opened: Any) -> None:
    for name, one in (("Me", ME), ("Other", OTHER)):
        players.upsert_player(opened, puuid=one, game_name=name, tag_line="T", platform="na1", now=NOW)


def _list(ids: list[str], *, who: str = ME, at: datetime = NOW, year: int | None = None) -> int:
    with session("league") as opened:
        _known(opened)
        return fetches.record_listing(opened, who, year, ids, listed_at=at)


def _pending(who: str | None = ME, *, now: datetime = NOW, **options: Any) -> list[tuple[str, str]]:
    with session("league", read_only=True) as opened:
        found = fetches.pending(opened, puuid=who, now=now, **options)
        return [(fetch.match_id, str(fetch.kind)) for fetch in found]


def test_a_listing_is_fetched_newest_first_and_match_before_timeline(league_ledger: str) -> None:
    assert _list(["NA1_9", "NA1_10", "NA1_100", "NA1_9"]) == 3
    ids = ["NA1_100", "NA1_10", "NA1_9"]
    assert _pending() == [(match_id, kind) for match_id in ids for kind in ("MATCH", "TIMELINE")]
    assert _pending(kinds=[FetchKind.TIMELINE], limit=2) == [("NA1_100", "TIMELINE"), ("NA1_10", "TIMELINE")]
    assert _pending(OTHER) == []
    assert len(_pending(None)) == 6


def test_a_second_listing_adds_what_is_new_and_leaves_the_rest(league_ledger: str) -> None:
    _list(["NA1_1"])
    with session("league") as opened:
        store_match(opened, match_body("NA1_1"), now=NOW)
    assert _list(["NA1_1", "NA1_2"]) == 1
    assert _list(["NA1_1", "NA1_2"]) == 0
    assert _pending() == [("NA1_2", "MATCH"), ("NA1_2", "TIMELINE"), ("NA1_1", "TIMELINE")]
    assert _list(["NA1_1"], who=OTHER) == 1
    with session("league", read_only=True) as opened:
        assert fetches.known(opened, ME, ["NA1_1", "NA1_2", "NA1_3"]) == {"NA1_1", "NA1_2"}
        counts = fetches.counts(opened, ME)
        assert (counts[FetchKind.MATCH][FetchState.STORED], counts[FetchKind.MATCH][FetchState.PENDING]) == (1, 1)
        assert counts[FetchKind.TIMELINE][FetchState.MISSING] == 0
        assert fetches.counts(opened)[FetchKind.TIMELINE][FetchState.PENDING] == 2


def test_the_watermark_goes_forward_only_and_years_have_their_own(league_ledger: str) -> None:
    for at in (NOW, NOW + timedelta(hours=1), NOW - timedelta(hours=1)):
        _list([], at=at)
    _list([], at=NOW, year=2024)
    with session("league", read_only=True) as opened:
        assert fetches.watermark(opened, ME, None) == NOW + timedelta(hours=1)
        assert fetches.watermark(opened, ME, 2024) == NOW
        assert fetches.watermark(opened, ME, 2023) is None


@pytest.mark.parametrize("wrong", ["", "NA1", "na1_1", "NA1_1; DROP TABLE", "NA1_1\x00", "X" * 99 + "_1"])
def test_what_is_no_match_id_is_never_written_nor_is_the_watermark_moved(league_ledger: str, wrong: str) -> None:
    _list(["NA1_1"])
    before = text_of_ledger()
    with session("league") as opened:
        with pytest.raises(ValueError, match="not a match id"):
            fetches.record_listing(opened, ME, None, ["NA1_2", wrong], listed_at=_LATER)
        assert fetches.watermark(opened, ME, None) == NOW
    assert text_of_ledger() == before


def test_a_long_listing_is_written(league_ledger: str) -> None:
    assert _list([f"NA1_{number}" for number in range(3_000)]) == 3_000
    assert len(_pending()) == 6_000


def _missing(opened: Any, now: datetime) -> FetchState:
    return fetches.mark_missing(opened, "NA1_1", FetchKind.MATCH, now=now, **_WAIT)


def _failed(opened: Any, now: datetime) -> FetchState:
    return fetches.mark_failed(opened, "NA1_1", FetchKind.MATCH, reason="answered HTML", now=now, **_WAIT)


@pytest.mark.parametrize(("mark", "state"), [(_missing, FetchState.MISSING), (_failed, FetchState.FAILED)])
def test_what_did_not_come_waits_longer_each_time(
    league_ledger: str, mark: Callable[[Any, datetime], FetchState], state: FetchState
) -> None:
    _list(["NA1_1"])
    for failures, hours in ((1, 0.5), (2, 1), (3, 2)):
        with session("league") as opened:
            assert mark(opened, NOW) is state
            fetch = opened.get_one(Fetch, ("NA1_1", FetchKind.MATCH))
            assert (fetch.failures, fetch.due_at) == (failures, NOW + timedelta(hours=hours))
            assert fetch.reason
            opened.flush()
            assert fetches.due(opened, NOW) == []
        assert _pending() == [("NA1_1", "TIMELINE")]
        assert _pending(now=NOW + timedelta(hours=hours)) == [("NA1_1", "MATCH"), ("NA1_1", "TIMELINE")]
    with session("league") as opened:
        store_match(opened, match_body("NA1_1"), now=NOW)
        opened.expire_all()
        fetch = opened.get_one(Fetch, ("NA1_1", FetchKind.MATCH))
        assert (fetch.state, fetch.failures, fetch.reason, fetch.due_at) == (FetchState.STORED, 0, None, None)


def test_a_late_404_does_not_undo_what_another_stored_or_removed(league_ledger: str) -> None:
    with session("league") as opened:
        store_match(opened, match_body("NA1_1"), now=NOW)
        assert _missing(opened, NOW) is FetchState.STORED
        assert _failed(opened, NOW) is FetchState.STORED
        remove_match(opened, "NA1_1")
        assert _missing(opened, NOW) is FetchState.REMOVED
        assert fetches.due(opened, _LATER) == []
    assert ("NA1_1", "MATCH") not in _pending(None, now=_LATER)


def test_what_was_never_listed_is_marked_as_well(league_ledger: str) -> None:
    with session("league") as opened:
        assert _missing(opened, NOW) is FetchState.MISSING
        assert [fetch.match_id for fetch in fetches.due(opened, _LATER)] == ["NA1_1"]


def test_any_reason_can_be_written(league_ledger: str) -> None:
    with session("league") as opened:
        reason = "\x00" + "long " * 1000
        fetches.mark_failed(opened, "NA1_1", FetchKind.MATCH, reason=reason, now=NOW, **_WAIT)
    with session("league", read_only=True) as opened:
        stored = opened.get_one(Fetch, ("NA1_1", FetchKind.MATCH)).reason
    assert stored is not None and len(stored) == 500 and stored.endswith("long")


def test_the_longest_overdue_come_first(league_ledger: str) -> None:
    for hours, match_id in enumerate(("NA1_3", "NA1_1", "NA1_2")):
        with session("league") as opened:
            fetches.mark_missing(opened, match_id, FetchKind.MATCH, now=NOW + timedelta(hours=hours), **_WAIT)
    with session("league", read_only=True) as opened:
        assert [fetch.match_id for fetch in fetches.due(opened, _LATER, 2)] == ["NA1_3", "NA1_1"]
        assert [fetch.match_id for fetch in fetches.due(opened, NOW + timedelta(hours=0.5))] == ["NA1_3"]


def test_lost_rows_are_fetched_again_but_removed_ones_are_not(league_ledger: str) -> None:
    _list(["NA1_1", "NA1_2"])
    with session("league") as opened:
        store_match(opened, match_body("NA1_1"), now=NOW)
        remove_match(opened, "NA1_2")
        fetches.reopen(opened, ["NA1_1", "NA1_2"], kinds=[FetchKind.MATCH])
    assert _pending() == [("NA1_1", "MATCH"), ("NA1_1", "TIMELINE")]


def test_a_listing_is_all_or_nothing(league_ledger: str) -> None:
    with pytest.raises(ConnectionError), session("league") as opened:
        _known(opened)
        fetches.record_listing(opened, ME, None, ["NA1_1"], listed_at=NOW)
        raise ConnectionError
    with session("league", read_only=True) as opened:
        assert opened.exec(select(Listing)).all() == []
        assert opened.exec(select(Fetch)).all() == []
        assert fetches.watermark(opened, ME, None) is None


@given(attempt=st.integers(1, 10_000), drawn=st.floats(0, 1), base=st.floats(1, 1e4), factor=st.floats(1, 1e4))
def test_a_wait_is_between_half_of_its_bound_and_all_of_it(
    attempt: int, drawn: float, base: float, factor: float
) -> None:
    def uniform(low: float, high: float) -> float:
        return low + drawn * (high - low)

    cap = base * factor
    waited = equal_jitter(attempt, base_seconds=base, cap_seconds=cap, uniform=uniform).total_seconds()
    bound = min(cap, base * 2.0 ** min(attempt - 1, 64))
    assert bound / 2 - 1e-6 <= waited <= bound + 1e-6


def test_waits_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        equal_jitter(0, base_seconds=1, cap_seconds=2, uniform=lambda low, _high: low)
