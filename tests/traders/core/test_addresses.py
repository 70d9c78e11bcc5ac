"""Addresses as they are kept, and as logs show them."""

from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.exchange.answers import UserFill
from tasks.traders.core.addresses import normal, short
from tasks.traders.core.trade_rows import TradeRow, rows_of_fills
from tests.traders.core.trades import address


@given(st.binary(min_size=20, max_size=20), st.randoms())
def test_one_address_however_it_is_written(raw: bytes, chance: object) -> None:
    kept = "0x" + raw.hex()
    assert normal(kept) == normal(kept.upper()) == normal(f" {kept}\n") == kept


@pytest.mark.parametrize("text", ["", "0x", "0x5a", "0x" + "g" * 40, "0x" + "1" * 41, "1" * 40, "0x" + "１" * 40])
def test_anything_else_is_none_and_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="an address is 0x and 40") as error:
        normal(text)
    assert not text.strip() or text not in str(error.value).replace("0x and", "")


def test_a_log_shows_the_ends() -> None:
    assert short("0x12345678901234567890123456789012345678ab") == "0x1234…78ab"
    assert short("0x5a") == "0x5a"


def test_a_fill_tells_the_party_it_is_of_and_the_takers_side() -> None:
    def fill(side: Literal["A", "B"], crossed: bool | None, tid: int | None = 7) -> UserFill:
        return UserFill(
            coin="BTC", px=Decimal("1E+2"), sz=Decimal("0.50"), side=side, time=5, start_position=Decimal(0), dir="Buy",
            closed_pnl=Decimal(0), crossed=crossed, tid=tid,
        )  # fmt: skip

    fills = [fill("B", True), fill("A", False), fill("A", None), fill("B", False), fill("B", True, None)]
    rows, rejected = rows_of_fills(address(1), [*fills, fill("A", True, 0)])
    assert rejected == 2
    assert [(row.side, row.buyer, row.seller) for row in rows] == [
        ("B", address(1), None),
        ("B", None, address(1)),
        ("A", None, address(1)),
        ("A", address(1), None),
    ]
    assert rows[0] == TradeRow(5, "BTC", 7, "B", "100", "0.50", address(1), None)
