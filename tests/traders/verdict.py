"""Whether a ledger tells the truth: an exchange's own account of its market, and a ledger that nobody disturbed."""

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from operator import attrgetter
from typing import Any

from sqlalchemy import inspect
from sqlmodel import SQLModel, col, func, select

from blocks.engine import session
from blocks.settings import settings
from tasks.traders.core.history_tables import Day, Equity, EquitySource, Fill, Funding, History, LedgerUpdate
from tasks.traders.core.profiles import PROFILES
from tasks.traders.core.rankings import unpack
from tasks.traders.core.score_tables import LeaderboardRun, Metrics, Standing
from tasks.traders.core.tables import (
    DOMAIN,
    Change,
    Gap,
    GapState,
    Poll,
    Position,
    PositionEvent,
    Snapshot,
    Source,
    Stream,
    Trade,
    Trader,
)
from tests.traders.exchange_process import ExchangeProcess

#: Prices are quotients of decimals, which end somewhere.
_TOLERANCE = Decimal("1e-12")
_PRICES = ("entry_px", "exit_px", "realised")
#: What a walk through the past leaves behind, whenever it was.
_PASTS = (Fill, Funding, LedgerUpdate, Day, History)
#: When it was fetched, and the newest moment of a portfolio is when it was asked for.
_OF_THE_FETCH = ("trader_id", "refreshed_at", "due_at", "portfolio_time")

Pasts = dict[tuple[str, str], list[dict[str, Any]]]
Worths = dict[str, dict[tuple[int, EquitySource], Equity]]


def rows(model: type[SQLModel]) -> list[Any]:
    """All rows of a table."""
    with session(DOMAIN, read_only=True) as opened:
        return list(opened.exec(select(model)).all())


def addresses() -> dict[int, str]:
    """The traders by id."""
    return {trader.id: trader.address for trader in rows(Trader)}


def check_trades(exchange: ExchangeProcess) -> int:
    """Every trade is there, once, as it was; and everything that was received was counted."""
    of = addresses()
    stored = {
        (row.time, row.coin, row.tid, row.side, row.px, row.sz, of.get(row.buyer_id), of.get(row.seller_id))
        for row in rows(Trade)
    }
    true = {
        (
            *(trade[name] for name in ("time", "coin", "tid", "side")),
            *(Decimal(trade[name]) for name in ("px", "sz")),
            trade["buyer"],
            trade["seller"],
        )
        for trade in exchange.truth("trades")
    }
    assert sorted(true - stored) == [] == sorted(stored - true)
    streams = rows(Stream)
    for stream in streams:
        assert stream.trades == stream.stored + stream.duplicates + stream.rejected, stream
        assert stream.ended_at is not None and stream.late == 0, stream
    assert sum(stream.stored for stream in streams) == len(true)
    assert [gap for gap in rows(Gap) if gap.state is not GapState.FILLED] == []
    return len(true)


def check_changes(exchange: ExchangeProcess) -> int:
    """Every change of a position is an event, once, with the true sizes, prices and results; nothing else is one."""
    of, events = addresses(), rows(PositionEvent)
    by_size = [event for event in events if event.change is not Change.LEVERAGE]
    stored = {(of[event.trader_id], event.coin, event.time, event.change): event for event in by_size}
    true = {(row["user"], row["coin"], row["time"], Change(row["change"])): row for row in exchange.truth("changes")}
    assert sorted(true.keys() - stored.keys()) == [] == sorted(stored.keys() - true.keys())
    assert len(stored) == len(by_size)
    assert {event.source for event in by_size} == {Source.STREAM}
    for key, row in true.items():
        event = stored[key]
        assert (event.size_before, event.size_after) == (Decimal(row["size_before"]), Decimal(row["size_after"])), key
        for name in _PRICES:
            assert _same(getattr(event, name), row[name]), (key, name)
    return len(true)


def check_positions(exchange: ExchangeProcess) -> None:
    """Everybody holds what the exchange says, and all together nothing; no snapshot ever differed."""
    of, true = addresses(), exchange.truth("positions")
    held = {(of[row.trader_id], row.coin): row for row in rows(Position) if row.szi}
    assert held.keys() == {(address, coin) for address, coins in true.items() for coin in coins}
    for (address, coin), row in held.items():
        there = true[address][coin]
        assert row.szi == Decimal(there["szi"]) and row.opened_time == there["opened_time"], (address, coin)
        assert _same(row.entry_px, there["entry_px"]) and _same(row.realised, there["realised"]), (address, coin)
    sums: Counter[str] = Counter()
    for row in held.values():
        sums[row.coin] += row.szi
    assert set(sums.values()) <= {0}
    polls = rows(Poll)
    assert sum(poll.compared for poll in polls) > 0 == sum(poll.drifted for poll in polls)
    assert {poll.reconciled_time == poll.snapshot_time for poll in polls} == {True} and rows(Snapshot) == []


def check_published(messages: Iterable[Mapping[str, Any]]) -> int:
    """A subscriber heard of each event, and of nothing else; what it heard again was the same."""
    of, heard = addresses(), dict[str, Mapping[str, Any]]()
    repeated = 0
    for message in messages:
        repeated += message["id"] in heard
        assert heard.setdefault(message["id"], message) == message
    events = {event.id: event for event in rows(PositionEvent)}
    assert heard.keys() == events.keys()
    for id_, event in events.items():
        assert event.published_at is not None
        told = (heard[id_]["trader_address"], heard[id_]["event_type"], heard[id_]["details"]["coin"])
        assert told == (of[event.trader_id], event.change.value, event.coin)
    return repeated


def check_boards(completed: int) -> None:
    """There are so many runs of the leaderboard, each of them whole and told against the one before it."""
    runs = sorted(rows(LeaderboardRun), key=lambda run: run.id)
    assert len(runs) == completed
    kept, previous = settings().traders.standings_kept, None
    standings = rows(Standing)
    for run in runs:
        ranking = unpack(run.ranking)
        of_run = [row for row in standings if row.run_id == run.id]
        places = {(name, rank + 1) for name in PROFILES for rank in range(min(run.eligible, kept))}
        assert sorted((row.profile, row.rank) for row in of_run) == sorted(places)
        for row in of_run:
            assert row.previous_rank == (previous and previous.rank_of(row.trader_id, row.profile))
        previous = ranking
    assert {row.run_id for row in standings} | {row.run_id for row in rows(Metrics)} <= {run.id for run in runs}


def board() -> dict[str, Any]:
    """What the newest run of the leaderboard tells, whatever ids the database gave."""
    of = addresses()
    run = max(rows(LeaderboardRun), key=lambda run: run.id)
    return {
        "run": run.model_dump(include={"as_of_day", "rules", "traders", "eligible", "inputs_hash"}),
        "metrics": {of[row.trader_id]: row.model_dump(exclude={"trader_id", "run_id"}) for row in rows(Metrics)},
        "standings": {
            (row.profile, row.rank): (of[row.trader_id], row.score, row.components)
            for row in rows(Standing)
            if row.run_id == run.id
        },
    }


def pasts() -> Pasts:
    """What is stored of everybody's past, whatever ids the database gave."""
    of, found = addresses(), dict[tuple[str, str], list[dict[str, Any]]]()
    for model in _PASTS:
        keys = [column.name for column in inspect(model).primary_key]
        for row in sorted(rows(model), key=attrgetter(*keys)):
            values = row.model_dump(exclude=set(_OF_THE_FETCH))
            found.setdefault((of[row.trader_id], model.__name__), []).append(values)
    return found


def worths() -> Worths:
    """What accounts were worth, by address."""
    of, found = addresses(), {address: dict[tuple[int, EquitySource], Equity]() for address in addresses().values()}
    for row in rows(Equity):
        found[of[row.trader_id]][row.time, row.source] = row
    return found


def events() -> int:
    """How many changes of positions were found."""
    with session(DOMAIN, read_only=True) as opened:
        return opened.exec(select(func.count()).select_from(PositionEvent)).one()


def stored_trades() -> int:
    """How many trades there are."""
    with session(DOMAIN, read_only=True) as opened:
        return opened.exec(select(func.count()).select_from(Trade)).one()


def open_gaps() -> int:
    """How many gaps are not filled yet."""
    with session(DOMAIN, read_only=True) as opened:
        wanted = select(func.count()).select_from(Gap).where(col(Gap.state) == GapState.OPEN)
        return opened.exec(wanted).one()


def _same(mine: Decimal | None, theirs: str | None) -> bool:
    if mine is None or theirs is None:
        return mine is None and theirs is None
    other = Decimal(theirs)
    return abs(mine - other) <= _TOLERANCE * max(abs(mine), abs(other), Decimal(1))
