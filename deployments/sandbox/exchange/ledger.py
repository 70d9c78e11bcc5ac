"""What really became of everybody: positions, fills and changes, computed from the blocks alone, in exact decimals."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from deployments.sandbox.exchange.coins import Coin, plain
from deployments.sandbox.exchange.fills import ZERO, Fill, Holding, fill
from deployments.sandbox.exchange.tape import Block, Trade

#: Units of a spot coin that everybody has at the beginning, so that nobody sells what it has not.
SPOT_BALANCE = Decimal(1_000_000)


@dataclass(slots=True)
class Account:
    """One trader while the market runs."""

    #: What its trades brought in USDC by dex, fees subtracted, and what came and went.
    cash: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    flows: list[tuple[int, Decimal]] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    holdings: dict[str, Holding] = field(default_factory=dict)
    #: Kind and value by coin, where they were ever set.
    leverages: dict[str, tuple[str, int]] = field(default_factory=dict)

    def positions(self, coins: Mapping[str, Coin]) -> Iterator[tuple[str, Holding]]:
        """What it holds of perpetuals, by coin."""
        for name in sorted(self.holdings):
            if self.holdings[name].szi and not coins[name].is_spot:
                yield name, self.holdings[name]


class Ledger:
    """Reads blocks when it is asked for something, each once."""

    def __init__(self, addresses: Sequence[str], coins: Mapping[str, Coin]) -> None:
        self.accounts: dict[int, Account] = defaultdict(Account)
        #: Netted by trader, coin and block, in the order of time, coin and address.
        self.changes: list[dict[str, Any]] = []
        self.leverage_changes: list[dict[str, Any]] = []
        self.marks: dict[str, Decimal] = {}
        self._addresses = addresses
        self._coins = coins
        #: Positions by trader and coin as netted changes make them.
        self._netted: dict[tuple[int, str], Holding] = defaultdict(Holding)
        self._read = 0

    def read(self, blocks: Sequence[Block]) -> None:
        """Take in the blocks that are new."""
        for place in range(self._read, len(blocks)):
            self._block(blocks[place])
        self._read = len(blocks)

    def holding(self, trader: int, coin: str) -> Holding:
        """A position, which is made where there is none."""
        holdings = self.accounts[trader].holdings
        if coin not in holdings:
            holdings[coin] = Holding(SPOT_BALANCE if self._coins[coin].is_spot else ZERO)
        return holdings[coin]

    def carry(self, trader: int, coin: str, holding: Holding) -> None:
        """Let a trader begin with a position."""
        for each in (self.holding(trader, coin), self._netted[trader, coin]):
            each.carry(holding)

    def _block(self, block: Block) -> None:
        for change in block.leverages:
            self._leverage(block.time, change.trader, change.coin, change.value, change.kind)
        for transfer in block.transfers:
            account, usdc = self.accounts[transfer.trader], Decimal(transfer.usdc)
            account.cash[""] += usdc
            account.flows.append((block.time, usdc))
        for coin in sorted(block.trades):
            trades = block.trades[coin]
            for trade in trades:
                self._trade(block.time, trade)
            self.marks[coin] = Decimal(trades[-1].px)
            if not self._coins[coin].is_spot:
                self._net(block.time, coin, trades)

    def _trade(self, time: int, trade: Trade) -> None:
        coin = self._coins[trade.coin]
        liquidated = self._addresses[trade.taker] if trade.liquidation else None
        for who, buys in ((trade.buyer, True), (trade.seller, False)):
            account = self.accounts[who]
            found = fill(
                self.holding(who, trade.coin),
                time=time,
                coin=trade.coin,
                px=trade.px,
                sz=trade.sz,
                buys=buys,
                crossed=buys == (trade.side == "B"),
                order=trade.order,
                oid=2 * trade.order if buys == (trade.side == "B") else 2 * trade.number + 1,
                tid=trade.tid,
                spot=coin.is_spot,
                liquidated=liquidated,
                undone=trade.buyer == trade.seller,
            )
            account.fills.append(found)
            if not coin.is_spot:
                account.cash[coin.dex] += found.closed_pnl - found.fee

    def _net(self, time: int, coin: str, trades: Sequence[Trade]) -> None:
        """One change for each trader whose position of a coin is another after the block."""
        signed: dict[int, Decimal] = defaultdict(Decimal)
        worth: dict[int, Decimal] = defaultdict(Decimal)
        tids: dict[int, list[int]] = defaultdict(list)
        for trade in trades:
            if trade.buyer == trade.seller:
                continue
            size = Decimal(trade.sz)
            for who, quantity in ((trade.buyer, size), (trade.seller, -size)):
                signed[who] += quantity
                worth[who] += quantity * Decimal(trade.px)
                tids[who].append(trade.tid)
        for who in sorted(signed, key=lambda index: self._addresses[index]):
            if signed[who] == 0:
                continue
            px = worth[who] / signed[who]
            netted, now = self._netted[who, coin], self.holding(who, coin)
            start, entry = netted.szi, netted.entry
            realised = netted.trade(signed[who], px, time)
            kind = _kind(start, netted.szi)
            closing = kind in ("CLOSE_POSITION", "DECREASE_POSITION")
            self.changes.append(
                {
                    "user": self._addresses[who],
                    "coin": coin,
                    "time": time,
                    "change": kind,
                    "size_before": plain(start),
                    "size_after": plain(netted.szi),
                    "px": plain(px),
                    "entry_px": plain(entry if closing else netted.entry),
                    "exit_px": plain(px) if closing or kind == "FLIP_POSITION" else None,
                    "realised": plain(realised) if closing or kind == "FLIP_POSITION" else None,
                    "tids": sorted(tids[who]),
                    # The exchange goes through the trades one by one: where that gives another entry, it is told.
                    "exchange_entry_px": plain(now.entry),
                }
            )

    def _leverage(self, time: int, who: int, coin: str, value: int, kind: str) -> None:
        account = self.accounts[who]
        before = account.leverages.get(coin) or default_leverage(self._coins[coin])
        account.leverages[coin] = (kind, value)
        self.leverage_changes.append(
            {
                "user": self._addresses[who],
                "coin": coin,
                "time": time,
                "before": {"type": before[0], "value": before[1]},
                "after": {"type": kind, "value": value},
                "szi": plain(self.holding(who, coin).szi),
            }
        )


def default_leverage(coin: Coin) -> tuple[str, int]:
    """What a trader borrows before it says how much; builders' perpetuals are always isolated."""
    return ("isolated" if coin.dex else "cross", coin.maximum_leverage)


def _kind(before: Decimal, after: Decimal) -> str:
    if before == 0:
        return "OPEN_POSITION"
    if after == 0:
        return "CLOSE_POSITION"
    if (before > 0) != (after > 0):
        return "FLIP_POSITION"
    return "INCREASE_POSITION" if abs(after) > abs(before) else "DECREASE_POSITION"
