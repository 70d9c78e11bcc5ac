"""Positions are kept current by whoever comes, at once or one after the other, and whoever is killed on the way."""

import itertools
import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest
from sqlmodel import select

from blocks.engine import session
from tasks.traders import positions
from tasks.traders.core.fold import POSITIONS
from tasks.traders.core.tables import Cursor, Poll, Position, PositionEvent, Snapshot
from tasks.traders.positions import AdvancedPositions, advance_positions
from tests.traders.core.tape_rows import empty_ledger, people, shown, snapshot, store, stream, swap

_TRADERS, _TRADES = 12, 400
_DIED = """
import os, signal, sys
from sqlalchemy import event
from blocks.engine import engine
from tasks.traders import positions

left = int(sys.argv[1])

def count(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

for name in ("before_cursor_execute", "commit"):
    event.listen(engine("traders"), name, count)
positions.TRADES = 40
positions._SQLITE_TURN = 0
print(positions.advance_positions().model_dump_json())
"""


def _fill() -> None:
    """A busy market of traders who begin with nothing, and some snapshots of each; half of them tell of a drift."""
    chance, held = Random(7), dict.fromkeys(range(1, _TRADERS + 1), 0)
    empty_ledger()
    with session("traders") as opened:
        people(opened, _TRADERS)
        swaps, polls = [], []
        for time in range(1, _TRADES + 1):
            buyer, seller = chance.sample(range(1, _TRADERS + 1), 2)
            size = chance.randint(1, 4)
            held[buyer] += size
            held[seller] -= size
            swaps.append(swap(time, buyer, seller, str(size), str(chance.randint(90, 110))))
            if time % 20 == 0:
                held[buyer] += time % 40 == 0
                polls.append((buyer, time, held[buyer]))
        store(opened, swaps)
        for trader, time, size in polls:
            snapshot(opened, trader, time, *([shown("BTC", str(size), "100")] if size else []))
        stream(opened, "BTC", whole=_TRADES)


def _rows() -> list[Any]:
    with session("traders", read_only=True) as opened:
        tables: list[Any] = []
        for table, left_out in (
            (PositionEvent, {"found_at"}),
            (Position, set()),
            (Poll, {"polled_at"}),
            (Cursor, set()),
        ):
            rows = [row.model_dump(exclude=left_out) for row in opened.exec(select(table))]
            tables.append(sorted(rows, key=lambda row: json.dumps(row, default=str)))
        return tables


@pytest.fixture
def clean(traders_ledger: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The rows of one run that nobody disturbed; the ledger is as it was before it."""
    monkeypatch.setattr(positions, "TRADES", 40)
    monkeypatch.setattr(positions, "_SQLITE_TURN", 0)
    _fill()
    done = advance_positions()
    rows = _rows()
    assert done.trades == _TRADES and done.snapshots == _TRADES // 20 and done.drifted
    assert done.events == len(rows[0]) > _TRADES
    assert (done.compared, done.drifted) == tuple(sum(row[name] for row in rows[2]) for name in ("compared", "drifted"))
    assert advance_positions() == AdvancedPositions()
    assert rows[3] == [{"name": POSITIONS, "time": _TRADES}]
    assert [row["number"] for row in sorted(rows[0], key=lambda row: row["number"])] == list(range(1, len(rows[0]) + 1))
    _fill()
    return rows


def _unnumbered(rows: list[Any]) -> list[Any]:
    """Without the order of finding, in which those that fail leave holes."""
    events = [{name: value for name, value in row.items() if name != "number"} for row in rows[0]]
    return [sorted(events, key=lambda row: row["id"]), *rows[1:]]


def test_two_at_once_give_each_change_once(clean: list[Any], traders_ledger: str) -> None:
    together = threading.Barrier(2)

    def advance(_: int) -> AdvancedPositions:
        together.wait()
        return advance_positions()

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(advance, range(2))
    assert one.plus(other).trades == _TRADES
    assert one.plus(other).events == len(clean[0])
    assert _unnumbered(_rows()) == _unnumbered(clean)


def test_killed_again_and_again(clean: list[Any], traders_ledger: str) -> None:
    chance, killed = Random(3), 0
    for _ in range(4):
        child = subprocess.run(
            [sys.executable, "-c", _DIED, str(chance.randint(5, 120))], check=False, capture_output=True, text=True
        )
        assert child.returncode in (0, -signal.SIGKILL), child.stderr
        killed += child.returncode != 0
    assert killed >= 3
    advance_positions()
    assert _unnumbered(_rows()) == _unnumbered(clean)


def test_numbers_are_in_the_order_of_time(clean: list[Any]) -> None:
    """Nothing was late here: subscribers are told of changes in the order in which they happened."""
    advance_positions()
    times = [row["time"] for row in sorted(_rows()[0], key=lambda row: row["number"])]
    first = {row["trader_id"]: row["baseline_time"] for row in _rows()[2]}
    late = sum(later < earlier for earlier, later in itertools.pairwise(times))
    # Only what was before a first snapshot is found with it.
    assert late <= len(first)


def test_no_transaction_takes_long_however_many_snapshots_wait(
    clean: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(positions, "SECONDS", 0)
    asked: list[int] = []

    def goes_on() -> bool:
        with session("traders", read_only=True) as opened:
            asked.append(len(opened.exec(select(Snapshot.id)).all()))
        return True

    advance_positions(goes_on)
    # Two steps of reconciling in each transaction, a snapshot each.
    assert asked[0] == _TRADES // 20 and len(asked) >= _TRADES // 40
    assert all(before - after <= 2 for before, after in itertools.pairwise(asked))
    assert _unnumbered(_rows()) == _unnumbered(clean)


def test_told_to_stop_it_leaves_the_rest_to_the_next(clean: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "SECONDS", 0)
    left = iter([True, True, False])
    some = advance_positions(lambda: next(left))
    assert 0 < some.trades < _TRADES
    rest = advance_positions()
    assert some.plus(rest).trades == _TRADES
    assert _unnumbered(_rows()) == _unnumbered(clean)
