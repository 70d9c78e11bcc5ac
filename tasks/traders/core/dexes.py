"""Who traded on builders' dexes (HIP-3): there, a trader's positions are asked for only if he was ever seen trading."""

from collections.abc import Iterable

from sqlmodel import Session, col, select

from tasks.foundation.core.upsert import upsert_rows
from tasks.traders.core.coins import dex_of
from tasks.traders.core.tables import MAIN_DEX, Poll, Trader
from tasks.traders.core.trade_rows import TradeRow

#: Addresses in one statement: both databases limit parameters.
_PAGE = 500


def note_dexes(session: Session, trades: Iterable[TradeRow]) -> None:
    """Remember on which builders' dexes the parties of some trades have traded, as polls that are due.

    Args:
        session: the transaction that stores the trades and their traders; nothing is committed.
        trades: any, those of the exchange's own dex are passed over.
    """
    on_dexes = [(trade, dex) for trade in trades if (dex := dex_of(trade.coin)) != MAIN_DEX]
    traded = {(party, dex) for trade, dex in on_dexes for party in (trade.buyer, trade.seller) if party is not None}
    addresses = sorted({address for address, _ in traded})
    ids: dict[str, int] = {}
    for start in range(0, len(addresses), _PAGE):
        page = select(Trader.address, Trader.id).where(col(Trader.address).in_(addresses[start : start + _PAGE]))
        ids |= {address: trader_id for address, trader_id in session.connection().execute(page)}
    polls = [Poll(trader_id=ids[address], dex=dex).model_dump() for address, dex in traded]
    upsert_rows(session, Poll, polls, key=("trader_id", "dex"))
