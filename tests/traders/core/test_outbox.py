"""The outbox: what waits, in which order, and what subscribers read."""

import json
import re
from datetime import timedelta
from decimal import Decimal

import pytest

from blocks.engine import session
from deployments.documentation import DOCS
from tasks.traders.core.outbox import Outgoing, Waiting, content, mark_published, message, unpublished, waiting
from tasks.traders.core.tables import DOMAIN, Change, PositionEvent, Source
from tests.traders.ledger_rows import NOW, TIME, add_events, add_traders, address, unpublished_ids


def test_events_wait_in_their_order_until_they_are_marked_one_by_one(traders_ledger: str) -> None:
    (trader,) = add_traders(TIME)
    ids = add_events(trader, 5)
    with session(DOMAIN) as opened:
        assert waiting(opened) == Waiting(5, NOW)
        first = unpublished(opened, limit=3)
        assert [outgoing.event.id for outgoing in first] == ids[:3]
        # One in between is not taken along.
        mark_published(opened, [first[0].number, first[2].number], now=NOW + timedelta(minutes=1))
        assert waiting(opened) == Waiting(3, NOW + timedelta(seconds=1))
    assert unpublished_ids() == [ids[1], *ids[3:]]


def test_a_mark_stays_as_it_was_first_set(traders_ledger: str) -> None:
    (trader,) = add_traders(TIME)
    add_events(trader, 1)
    with session(DOMAIN) as opened:
        (outgoing,) = unpublished(opened, limit=9)
        for minutes in (1, 2):
            mark_published(opened, [outgoing.number], now=NOW + timedelta(minutes=minutes))
    with session(DOMAIN) as opened:
        assert opened.get_one(PositionEvent, outgoing.number).published_at == NOW + timedelta(minutes=1)
        assert waiting(opened) == Waiting(0, None)
        assert unpublished(opened, limit=9) == []


def test_subscribers_read_the_former_fields_and_exact_numbers(traders_ledger: str) -> None:
    (trader,) = add_traders(TIME)
    flip = {
        "coin": "xyz:AAPL",
        "change": Change.FLIP,
        "time": TIME + 123,
        "px": Decimal("250.10"),
        "size_before": Decimal("12345678.123456789012"),
        "size_after": Decimal("-0.5000"),
        "entry_px": Decimal("0.00000000001"),
        "exit_px": Decimal("250.10"),
        "realised": Decimal("-0.00"),
    }
    (id_,) = add_events(trader, 1, **flip)
    with session(DOMAIN, read_only=True) as opened:
        (outgoing,) = unpublished(opened, limit=1)
    assert json.loads(message(outgoing)) == {
        "id": id_,
        "trader_id": trader,
        "trader_address": address(1),
        "timestamp": "2026-03-01T12:00:00.123000+00:00",
        "event_type": "FLIP_POSITION",
        "details": {
            "coin": "xyz:AAPL",
            "size": "0.5",
            "side": "SHORT",
            "size_before": "12345678.123456789012",
            "size_after": "-0.5",
            "price": "250.1",
            "entry_price": "0.00000000001",
            "exit_price": "250.1",
            "realised": "0",
            "leverage_before": None,
            "leverage_after": None,
            "leverage_type_before": None,
            "leverage_type_after": None,
            "source": "STREAM",
            "time": TIME + 123,
        },
    }


def test_the_docs_show_what_is_published() -> None:
    (shown,) = re.findall(r'```json\n(\{"id".*?\})\n```', (DOCS / "traders.md").read_text(), re.DOTALL)
    event = PositionEvent(
        number=1,
        id="...",
        trader_id=7,
        coin="ETH",
        change=Change.FLIP,
        source=Source.STREAM,
        time=1795366800123,
        px=Decimal("3010.5"),
        size_before=Decimal(2),
        size_after=Decimal("-1.5"),
        entry_px=Decimal("3010.50"),
        exit_px=Decimal("3010.5"),
        realised=Decimal("21.0"),
        found_at=NOW,
    )
    published = content(Outgoing(1, event, "0x..."))
    assert json.loads(shown) == published
    assert list(json.loads(shown)["details"]) == list(published["details"])


@pytest.mark.parametrize(
    ("before", "after", "size", "side"), [("0", "2", "2", "LONG"), ("2", "0", "2", "LONG"), ("-3", "0", "3", "SHORT")]
)
def test_the_side_of_a_closed_position_is_that_which_it_had(before: str, after: str, size: str, side: str) -> None:
    event = PositionEvent(
        number=1,
        id="x",
        trader_id=1,
        coin="BTC",
        change=Change.CLOSE,
        source=Source.SNAPSHOT,
        time=TIME,
        size_before=Decimal(before),
        size_after=Decimal(after),
        found_at=NOW,
    )
    details = content(Outgoing(1, event, address(1)))["details"]
    assert (details["size"], details["side"]) == (size, side)
