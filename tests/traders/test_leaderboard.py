"""The leaderboard on a real database: what is ranked, what is kept, and what a kill leaves."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import col, func, select

from blocks.engine import session
from blocks.settings import settings
from tasks.traders import leaderboard
from tasks.traders.core import board_storing
from tasks.traders.core.history_tables import History
from tasks.traders.core.profiles import PROFILES
from tasks.traders.core.rankings import unpack
from tasks.traders.core.score_tables import LeaderboardRun, Metrics, Standing
from tasks.traders.core.tables import Trader
from tasks.traders.leaderboard import LeaderboardResult, as_of_day, calculate_leaderboard
from tests.traders.board_data import add_history, add_trader, address, made_returns

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LAST = as_of_day(NOW)

pytestmark = pytest.mark.usefixtures("traders_ledger")


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaderboard, "utc_now", lambda: NOW)


def fill(traders: int = 12) -> None:
    """Skilled traders have small numbers; 90 has no history, 91 too few days, 92 is ignored, 93 has no return."""
    with session("traders") as opened:
        for number in range(traders):
            drift = 0.008 - 0.0012 * number
            add_history(opened, add_trader(opened, number), made_returns(number, 80, drift), last_day=LAST)
        add_trader(opened, 90)
        add_history(opened, add_trader(opened, 91), made_returns(91, 9), last_day=LAST)
        add_history(opened, add_trader(opened, 92, ignored=True), made_returns(92, 80, 0.05), last_day=LAST)
        add_history(opened, add_trader(opened, 93), [], last_day=LAST)
        opened.commit()


async def calculated(profile: str = "skill") -> LeaderboardResult:
    return await calculate_leaderboard.fn(profile)


def reasons() -> dict[str, str | None]:
    with session("traders", read_only=True) as opened:
        rows = opened.exec(select(Trader.address, Metrics.reason).join(Metrics, col(Metrics.trader_id) == Trader.id))
        return {found: reason for found, reason in rows}


async def test_the_skilled_are_ranked_and_the_others_told_why_not() -> None:
    fill()
    result = await calculated()
    assert (result.traders, result.eligible) == (16, 12)
    assert [entry.rank for entry in result.top] == list(range(1, 11))
    assert {entry.address for entry in result.top[:4]} <= {address(number) for number in range(7)}
    told = reasons()
    assert told[address(90)] == "no history yet"
    assert told[address(91)] == "9 of 30 days with a return"
    assert told[address(92)] == "ignored by the operator"
    assert told[address(93)] == "no day with a return"
    assert all(told[address(number)] is None for number in range(12))


async def test_a_trader_without_history_has_no_invented_number() -> None:
    fill(0)
    await calculated()
    with session("traders", read_only=True) as opened:
        found = opened.exec(
            select(Metrics).join(Trader, col(Trader.id) == Metrics.trader_id).where(Trader.address == address(90))
        ).one()
    known = {name for name, value in found.model_dump().items() if value is not None}
    assert known == {"trader_id", "run_id", "eligible", "reason", "days", "round_trips", "weeks"}
    assert not found.eligible and (found.days, found.round_trips, found.weeks) == (0, 0, 0)


async def test_every_run_is_kept_with_its_rank_changes() -> None:
    fill()
    first = await calculated()
    with session("traders") as opened:
        # The best of all lost everything that it had won.
        best = opened.exec(select(Trader.id).where(Trader.address == first.top[0].address)).one()
        stored = opened.get_one(History, best)
        opened.delete(stored)
        opened.flush()
        assert best is not None
        add_history(opened, best, made_returns(1, 80, -0.02), last_day=LAST)
        opened.commit()
    second = await calculated()
    assert second.run_id > first.run_id and second.inputs_hash != first.inputs_hash
    with session("traders", read_only=True) as opened:
        rows = opened.exec(select(Standing).where(Standing.profile == "skill").order_by(col(Standing.rank))).all()
        before = {row.trader_id: row.rank for row in rows if row.run_id == first.run_id}
        after = [row for row in rows if row.run_id == second.run_id]
        assert opened.exec(select(func.count()).select_from(LeaderboardRun)).one() == 2
    assert len(before) == len(after) == 12
    assert all(row.previous_rank == before[row.trader_id] for row in after)
    assert after[-1].trader_id == best and after[-1].previous_rank == 1


async def test_the_same_inputs_give_the_same_run() -> None:
    fill()
    first, second = await calculated(), await calculated()
    assert first.inputs_hash == second.inputs_hash and first.top == second.top
    with session("traders", read_only=True) as opened:
        one, two = opened.exec(select(LeaderboardRun).order_by(col(LeaderboardRun.id))).all()
        # Nothing changed, so nobody's metrics were written again.
        assert set(opened.exec(select(Metrics.run_id))) == {first.run_id}
    assert one.ranking == two.ranking and one.rules == two.rules


async def test_a_run_says_by_what_rules_it_went_and_what_scores_are_made_of() -> None:
    fill()
    result = await calculated("balanced")
    with session("traders", read_only=True) as opened:
        run = opened.get_one(LeaderboardRun, result.run_id)
        rows = opened.exec(select(Standing)).all()
    rules = json.loads(run.rules)
    assert rules["eligibility"] == {"minimum_days": 30, "minimum_round_trips": 5, "minimum_volume": 1000.0}
    assert set(rules["profiles"]) == set(PROFILES) == {row.profile for row in rows}
    for row in rows:
        assert sum(json.loads(row.components).values()) == pytest.approx(row.score, abs=1e-4)
    ranking = unpack(run.ranking)
    assert {row.rank for row in rows if row.profile == "balanced"} == set(ranking.ranks["balanced"].tolist())


async def test_fewer_days_are_another_rule_that_the_run_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    fill()
    longer = await calculated()
    monkeypatch.setenv("QUINTET_TRADERS__LEADERBOARD_DAYS", "40")
    settings.cache_clear()
    shorter = await calculated()
    with session("traders", read_only=True) as opened:
        rules = [json.loads(opened.get_one(LeaderboardRun, run.run_id).rules) for run in (longer, shorter)]
        days = {row.days for row in opened.exec(select(Metrics)) if row.eligible}
    assert [one["days"] for one in rules] == [365, 40] and days == {40}
    # The inputs are the same ones: what differs is what the runs went by.
    assert shorter.inputs_hash == longer.inputs_hash
    assert rules[0] | {"days": 40} == rules[1]


async def test_only_so_many_places_are_rows_and_all_ranks_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_TRADERS__STANDINGS_KEPT", "3")
    settings.cache_clear()
    fill()
    result = await calculated()
    with session("traders", read_only=True) as opened:
        assert opened.exec(select(func.count()).select_from(Standing)).one() == 3 * len(PROFILES)
        assert len(unpack(opened.get_one(LeaderboardRun, result.run_id).ranking).trader_ids) == 12


async def test_days_that_are_not_over_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    fill()
    before = await calculated()
    monkeypatch.setattr(leaderboard, "utc_now", lambda: NOW.replace(hour=23, minute=59))
    assert (await calculated()).inputs_hash == before.inputs_hash
    monkeypatch.setattr(leaderboard, "utc_now", lambda: NOW + timedelta(days=1))
    after = await calculated()
    assert after.inputs_hash != before.inputs_hash and after.as_of == before.as_of + timedelta(days=1)


async def test_without_any_trader_there_is_an_empty_run() -> None:
    result = await calculated()
    assert (result.traders, result.eligible, result.top) == (0, 0, ())


async def test_an_unknown_profile_is_told_before_anything_is_done() -> None:
    with pytest.raises(ValueError, match="no profile 'luck': there are skill, balanced"):
        await calculated("luck")
    with session("traders", read_only=True) as opened:
        assert opened.exec(select(LeaderboardRun)).first() is None


async def test_a_run_that_breaks_off_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fill()
    monkeypatch.setattr(board_storing, "_standings", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await calculated()
    with session("traders", read_only=True) as opened:
        for table in (LeaderboardRun, Metrics, Standing):
            assert opened.exec(select(table)).first() is None


async def test_ranks_are_told_against_the_run_before_a_damaged_one() -> None:
    fill()
    await calculated()
    damaged = await calculated()
    with session("traders") as opened:
        opened.get_one(LeaderboardRun, damaged.run_id).ranking = b"damaged"
        opened.commit()
    result = await calculated()
    with session("traders", read_only=True) as opened:
        rows = opened.exec(select(Standing).where(Standing.run_id == result.run_id)).all()
    assert rows and all(row.previous_rank == row.rank for row in rows)


async def test_a_past_that_was_fetched_in_part_is_no_history() -> None:
    with session("traders") as opened:
        trader_id = add_trader(opened, 1)
        add_history(opened, trader_id, made_returns(1, 80), last_day=LAST)
        opened.flush()
        opened.get_one(History, trader_id).refreshed_at = None
        opened.commit()
    assert (await calculated()).eligible == 0
    assert reasons() == {address(1): "no history yet"}
