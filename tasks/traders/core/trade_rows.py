"""Trades on their way into the ledger: as public trades and as the fills of one user tell them."""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple, Protocol


class TradeRow(NamedTuple):
    """A trade that has passed all checks; a party that is not known is None."""

    time: int
    coin: str
    tid: int
    #: Of the taker.
    side: str
    #: Plain decimals, as the exchange wrote them.
    px: str
    sz: str
    buyer: str | None
    seller: str | None


class Written(NamedTuple):
    """Rows that were not there before, and late ones: new or completed below what positions have gone through."""

    stored: int = 0
    late: int = 0


class PublicTrade(Protocol):
    """What a public trade tells, checked by who read it."""

    coin: str
    px: str
    sz: str
    time: int
    tid: int
    users: tuple[str, str]

    @property
    def side(self) -> str:
        """Of the taker: `B` bought, `A` sold."""


class OwnFill(Protocol):
    """What a user's own fill tells; its `side` is the user's."""

    @property
    def coin(self) -> str:
        """The coin."""

    @property
    def side(self) -> str:
        """`B` bought, `A` sold."""

    @property
    def px(self) -> Decimal:
        """The price."""

    @property
    def sz(self) -> Decimal:
        """The size."""

    @property
    def time(self) -> int:
        """Of the block, in milliseconds."""

    @property
    def tid(self) -> int | None:
        """None for fills from before there were such."""

    @property
    def crossed(self) -> bool | None:
        """Whether the user was the taker."""


def rows_of_trades(trades: Iterable[PublicTrade]) -> list[TradeRow]:
    """Public trades as rows."""
    return [TradeRow(each.time, each.coin, each.tid, each.side, each.px, each.sz, *each.users) for each in trades]


def rows_of_fills(address: str, fills: Iterable[OwnFill]) -> tuple[list[TradeRow], int]:
    """A user's fills as trades of which one party is known.

    Args:
        address: the user, as it is kept.
        fills: the user's own.

    Returns:
        The rows, and how many fills were no trade between two that could be told from others: fills of old times have
        no `tid`, and conversions of dust have 0 and no other side.
    """
    rows, rejected = [], 0
    for fill in fills:
        if not fill.tid or fill.sz <= 0 or fill.px <= 0:
            rejected += 1
            continue
        bought = fill.side == "B"
        # The public trade tells the taker's side.
        taker_bought = bought if fill.crossed is not False else not bought
        rows.append(
            TradeRow(
                fill.time,
                fill.coin,
                fill.tid,
                "B" if taker_bought else "A",
                format(fill.px, "f"),
                format(fill.sz, "f"),
                address if bought else None,
                None if bought else address,
            )
        )
    return rows, rejected
