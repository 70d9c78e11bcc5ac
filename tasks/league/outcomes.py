"""Writes into the ledger that a match or timeline was not to be had, and when it is asked for again."""

import random

from sqlmodel import Session

from blocks.engine import session
from blocks.settings import settings
from tasks.foundation.core.columns import utc_now
from tasks.league.core.fetches import mark_failed, mark_missing
from tasks.league.core.tables import DOMAIN, FetchKind


def missing(opened: Session, match_id: str, kind: FetchKind) -> None:
    """Riot answered 404."""
    league = settings().league
    mark_missing(
        opened,
        match_id,
        kind,
        now=utc_now(),
        base_seconds=league.recheck_base_seconds,
        cap_seconds=league.recheck_cap_seconds,
        uniform=random.uniform,
    )


def failed(opened: Session, match_id: str, kind: FetchKind, error: Exception) -> None:
    """It could not be fetched, or the answer not be read."""
    league = settings().league
    mark_failed(
        opened,
        match_id,
        kind,
        reason=str(error),
        now=utc_now(),
        base_seconds=league.recheck_base_seconds,
        cap_seconds=league.recheck_cap_seconds,
        uniform=random.uniform,
    )


def note_missing(match_id: str, kind: FetchKind) -> None:
    """`missing` in a transaction of its own."""
    with session(DOMAIN) as opened:
        missing(opened, match_id, kind)


def note_failed(match_id: str, kind: FetchKind, error: Exception) -> None:
    """`failed` in a transaction of its own."""
    with session(DOMAIN) as opened:
        failed(opened, match_id, kind, error)
