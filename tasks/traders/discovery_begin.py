"""How a run of discovery begins: what it follows, and what a run before it left is put in order."""

from collections.abc import Sequence

from sqlalchemy import func, update
from sqlmodel import col, select

from blocks.engine import session
from tasks.foundation.core.columns import utc_now
from tasks.traders.core.coverage import choose_coins
from tasks.traders.core.gaps import close_gap, open_gaps
from tasks.traders.core.tables import DOMAIN, Gap, GapState, Stream, Trader


def begin(coins: Sequence[str]) -> int:
    """Say what is followed from now on, and put in order what a run before this one left.

    Where each coin was known to be whole, a gap begins: whatever was traded since is to be fetched.

    Returns:
        How many traders are known.
    """
    now = utc_now()
    with session(DOMAIN) as opened:
        choose_coins(opened, coins)
        left = update(Stream).where(col(Stream.ended_at).is_(None))
        ended = func.coalesce(col(Stream.written_at), col(Stream.started_at))
        opened.connection().execute(left.values(ended_at=ended, ended_for="its process ended"))
        dropped = select(Gap.coin).where(col(Gap.state) == GapState.OPEN, col(Gap.coin).not_in(coins))
        for coin in opened.exec(dropped).all():
            close_gap(opened, coin, GapState.PARTIAL, to_time=None, reason="not followed any more", now=now)
        open_gaps(opened, coins, now)
    return known_traders()


def known_traders() -> int:
    """How many traders there are."""
    with session(DOMAIN, read_only=True) as opened:
        return opened.exec(select(func.count(col(Trader.id)))).one()
