"""A trader's own fills, stored once each.

A public trade has a `tid`, unique together with its time and coin, and so have fills of today. Those of 2023 have none,
conversions of spot dust all have 0, and of a trade with oneself both sides have the same: such get a number of our own,
made of what they say and negative, so that it is the same each time they are fetched.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from sqlmodel import Session

from tasks.foundation.core.upsert import upsert_rows
from tasks.traders.core.history_tables import Fill

DUST = "Spot Dust Conversion"
_KEY = ("trader_id", "time", "coin", "tid")


@dataclass(frozen=True, slots=True)
class ToldFill:
    """One fill as the exchange tells it; fields are its own in snake case.

    Attributes:
        fee: with the builder's, which is told separately too.
        tid: None or 0 where it has none.
        hash: of the transaction; used to tell fills apart only.
        liquidated: the trader is who was liquidated, not who took the other side.
    """

    time: int
    coin: str
    side: str
    px: Decimal
    sz: Decimal
    dir: str
    closed_pnl: Decimal
    tid: int | None = None
    start_position: Decimal | None = None
    fee: Decimal | None = None
    fee_token: str | None = None
    crossed: bool | None = None
    oid: int | None = None
    hash: str = ""
    liquidated: bool = False


def numbered(fills: Sequence[ToldFill]) -> list[ToldFill]:
    """The fills, each once, with a number that tells it from all others of its time and coin.

    Args:
        fills: in any order; of each millisecond and coin all that there are, or none.
    """
    told = list(dict.fromkeys(fill for fill in fills if fill.tid))
    sides = Counter((fill.time, fill.coin, fill.tid) for fill in told)
    # With oneself: the buyer keeps the trade's own number.
    alone = [sides[fill.time, fill.coin, fill.tid] == 1 or fill.side == "B" for fill in told]
    named = [fill for fill, kept in zip(told, alone, strict=True) if kept]
    nameless = [fill for fill, kept in zip(told, alone, strict=True) if not kept] + [
        fill for fill in fills if not fill.tid
    ]
    seen: Counter[str] = Counter()
    for fill in nameless:
        text = _said(fill)
        digest = hashlib.blake2b(f"{text}|{seen[text]}".encode(), digest_size=8).digest()
        named.append(replace(fill, tid=-1 - (int.from_bytes(digest) >> 2)))
        seen[text] += 1
    return named


def _said(fill: ToldFill) -> str:
    said = (fill.time, fill.coin, fill.side, fill.px, fill.sz, fill.dir, fill.start_position, fill.closed_pnl)
    parts = (*said, fill.oid, fill.hash)
    # The digits alone: 1.0 and 1.00 are the same amount.
    return "|".join(format(part.normalize(), "f") if isinstance(part, Decimal) else str(part) for part in parts)


def store_fills(session: Session, trader_id: int, fills: Iterable[ToldFill]) -> int:
    """Store fills unless they are there.

    Args:
        session: the transaction; nothing is committed.
        trader_id: whose.
        fills: whole milliseconds, as for `numbered`.

    Returns:
        How many there were, known ones included.
    """
    rows = [_row(trader_id, fill) for fill in numbered(list(fills))]
    upsert_rows(session, Fill, rows, key=_KEY)
    return len(rows)


def _row(trader_id: int, fill: ToldFill) -> dict[str, Any]:
    return {
        "trader_id": trader_id,
        "time": fill.time,
        "coin": fill.coin,
        "tid": fill.tid,
        "side": fill.side,
        "px": fill.px,
        "sz": fill.sz,
        "start_position": fill.start_position,
        "dir": fill.dir[:64],
        "closed_pnl": fill.closed_pnl,
        "fee": fill.fee,
        "fee_token": None if fill.fee_token is None else fill.fee_token[:32],
        "crossed": fill.crossed,
        "oid": fill.oid,
        "liquidated": fill.liquidated,
    }
