"""Fills gaps while the stream goes on: from each coin's recent trades, then from the fills of those who traded.

`recentTrades` shows a coin's newest trades. If they reach back to the beginning of its gap, nothing is missing. Else
those who traded shortly before, and those seen right after it, are asked for their own fills, which show one party of
each trade, until the weight that a gap may cost is spent; no answer of the exchange can then tell that nothing is
missing, and the gap is PARTIAL.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sqlalchemy.exc import InterfaceError, OperationalError
from structlog.stdlib import BoundLogger

from blocks.engine import LedgerUnreadableError, session
from blocks.exchange.errors import ExchangeError, ExchangeUnavailableError
from blocks.exchange.info import ExchangeClient
from blocks.exchange.limits import USER_FILLS_BY_TIME
from tasks.foundation.core.columns import utc_now
from tasks.traders.core.gaps import traders_before
from tasks.traders.core.ingest import Rejected
from tasks.traders.core.tables import DOMAIN, GapState, StreamKind
from tasks.traders.core.trade_rows import TradeRow, rows_of_fills, rows_of_trades
from tasks.traders.discovery_plan import Account, Ended, Fetched, Filled, Intake
from tasks.traders.discovery_transaction import OpenGap

#: Positions of all coins wait for a gap to be filled: for no longer than this, then what is missing is missing.
FILL_SECONDS = 300.0
#: Who traded this long before a gap is asked for fills in it.
LOOK_BACK_MS = 10 * 60_000
#: Coins that become whole again one after the other, as their subscriptions are paced, are filled together.
GATHER_SECONDS = 0.2
#: Wait for a database that is away.
AGAIN_SECONDS = 5.0


@dataclass
class _Round:
    """Gaps that are filled together."""

    gaps: dict[str, OpenGap]
    #: Coin -> the oldest of its recent trades: before it, some may be missing.
    oldest: dict[str, int] = field(default_factory=dict)
    #: Coin -> the newest of them.
    newest: dict[str, int] = field(default_factory=dict)
    #: Why coins could not be asked for.
    trouble: dict[str, str] = field(default_factory=dict)
    #: Seen in recent trades.
    traders: list[str] = field(default_factory=list)

    @property
    def unreached(self) -> list[str]:
        """Coins whose recent trades do not reach back to the beginning of their gap."""
        return [
            coin
            for coin, gap in self.gaps.items()
            if coin in self.trouble or self.oldest.get(coin, gap.from_time) > gap.from_time
        ]


class GapFiller:
    """Fills the gaps that it is told of.

    Args:
        client: open.
        give: takes what was fetched, in order, for the writer.
        weight_per_gap: what a gap may cost in fills of single traders.
        log: of the run.
    """

    def __init__(
        self, client: ExchangeClient, give: Callable[[Intake], None], weight_per_gap: int, log: BoundLogger
    ) -> None:
        self._client = client
        self._give = give
        self._weight = weight_per_gap
        self._log = log
        self._wanted: dict[str, OpenGap] = {}
        self._told = asyncio.Event()

    def want(self, gaps: Iterable[OpenGap]) -> None:
        """Fill these, as soon as those before are done; the last that is said of a coin holds."""
        for gap in gaps:
            self._wanted[gap.coin] = gap
            self._told.set()

    async def run(self) -> None:
        """Fill what is wanted, for ever."""
        while True:
            await self._told.wait()
            await asyncio.sleep(GATHER_SECONDS)
            gaps, self._wanted = self._wanted, {}
            self._told.clear()
            try:
                await self.fill(gaps)
            except (InterfaceError, OperationalError, LedgerUnreadableError) as error:
                # Nothing was said of these gaps: they are open as before.
                self._log.warning("gaps cannot be filled now", error=type(error).__name__)
                await asyncio.sleep(AGAIN_SECONDS)
                self.want(gap for coin, gap in gaps.items() if coin not in self._wanted)

    async def fill(self, gaps: dict[str, OpenGap]) -> None:
        """Fill some gaps as far as the exchange gives anything back."""
        work = _Round(gaps)
        deadline = time.monotonic() + FILL_SECONDS
        recent = Account(StreamKind.RECENT_TRADES, tuple(gaps), utc_now())
        await asyncio.gather(*(self._recent(work, gap, recent, deadline) for gap in gaps.values()))
        unreached = work.unreached
        for coin, gap in gaps.items():
            if coin not in unreached:
                end = work.newest.get(coin)
                self._give(Filled(recent, coin, gap.connection, GapState.FILLED, end))
        self._give(Ended(recent, "done"))
        if unreached:
            await self._from_fills(work, unreached, deadline)
        self._log.info("gaps", filled=len(gaps) - len(unreached), partial=len(unreached))

    async def _recent(self, work: _Round, gap: OpenGap, account: Account, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(_on_loop(deadline)):
                answer = await self._client.recent_trades(gap.coin)
        except (ExchangeError, TimeoutError) as error:
            work.trouble[gap.coin] = "recentTrades: " + _said(error)
            return
        rows = [row for row in rows_of_trades(answer) if row.coin == gap.coin]
        strangers = len(answer) - len(rows)
        rejections = [Rejected(each.reason, each.excerpt) for each in answer.rejections]
        self._give(Fetched(account, gap.coin, rows, answer.rejected + strangers, rejections))
        if rows:
            times = [row.time for row in rows]
            work.oldest[gap.coin], work.newest[gap.coin] = min(times), max(times)
            work.traders += [party for row in rows for party in (row.buyer, row.seller) if party is not None]

    async def _from_fills(self, work: _Round, coins: list[str], deadline: float) -> None:
        account = Account(StreamKind.USER_FILLS, tuple(coins), utc_now())
        begin = {coin: work.gaps[coin].from_time for coin in coins}
        end = {coin: work.oldest.get(coin) for coin in coins}
        allowed = self._weight * len(coins)
        candidates = await asyncio.to_thread(_candidates, coins, min(begin.values()), allowed)
        # Those who were there before the gap, then those who were right after it, each once.
        spent, asked = 0, 0
        stopped = ""
        for address in dict.fromkeys([*candidates, *work.traders]):
            if spent + USER_FILLS_BY_TIME.most > allowed or time.monotonic() > deadline:
                break
            last = None if None in end.values() else max(time for time in end.values() if time is not None)
            try:
                async with asyncio.timeout_at(_on_loop(deadline)):
                    fills = await self._client.user_fills_by_time(address, min(begin.values()), last)
            except (ExchangeUnavailableError, TimeoutError) as error:
                stopped = f"; {_said(error)}"
                break
            except ExchangeError:
                # Of this one trader; it cost the least that a request can.
                spent += USER_FILLS_BY_TIME.weight
                continue
            spent += USER_FILLS_BY_TIME.weight_of(fills)
            asked += 1
            rows, _ = rows_of_fills(address, fills)
            self._give_rows(account, rows, begin, end)
        for coin in coins:
            reason = f"fills of {asked} traders{stopped}"
            if coin in work.trouble:
                reason = f"{work.trouble[coin]}; {reason}"
            gap = work.gaps[coin]
            self._give(Filled(account, coin, gap.connection, GapState.PARTIAL, end[coin], reason))
        self._give(Ended(account, f"{asked} traders asked, weight {spent}"))

    def _give_rows(
        self, account: Account, rows: list[TradeRow], begin: dict[str, int], end: dict[str, int | None]
    ) -> None:
        """Hand on those of the gaps; what else a trader did is no business of theirs."""
        answers = 1
        for coin, first in begin.items():
            last = end[coin]
            of_gap = [
                row for row in rows if row.coin == coin and row.time >= first and (last is None or row.time <= last)
            ]
            if of_gap or answers:
                self._give(Fetched(account, coin, of_gap, answers=answers))
            answers = 0


def _candidates(coins: list[str], before: int, weight: int) -> list[str]:
    with session(DOMAIN, read_only=True) as opened:
        most = max(1, weight // USER_FILLS_BY_TIME.weight)
        return traders_before(opened, coins, before, limit=most, look_back=LOOK_BACK_MS)


def _on_loop(deadline: float) -> float:
    """A moment of the monotonic clock on the running loop's."""
    return asyncio.get_running_loop().time() + deadline - time.monotonic()


def _said(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) and not str(error) else str(error)
