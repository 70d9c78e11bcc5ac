"""A trader by address: the same one in any case, made once."""

import asyncio

import pytest
from sqlmodel import select

from blocks.engine import session
from tasks.traders.core.due import due_polls
from tasks.traders.core.tables import DOMAIN, Trader
from tasks.traders.traders import get_or_create_trader
from tests.traders.ledger_rows import NOW, TIME, add_traders, address

ADDRESS = "0xAbCdEf0123456789aBcDeF0123456789AbCdEf01"


async def test_one_that_is_not_known_is_made_known_and_polled_next(traders_ledger: str) -> None:
    made = await get_or_create_trader.fn(ADDRESS)
    assert (made.created, made.address, made.seen_time, made.ignored) == (True, ADDRESS.lower(), None, False)
    again = await get_or_create_trader.fn(f" {ADDRESS.lower()} ")
    assert again == made.model_copy(update={"created": False})
    with session(DOMAIN, read_only=True) as opened:
        assert [due.trader_id for due in due_polls(opened, now=NOW, limit=9)] == [made.id]


async def test_one_that_is_known_is_as_it_was(traders_ledger: str) -> None:
    (trader,) = add_traders(TIME, ignored=True)
    found = await get_or_create_trader.fn(address(1).upper().replace("0X", "0x"))
    assert (found.id, found.created, found.seen_time, found.ignored) == (trader, False, TIME, True)
    assert found.discovered_at == NOW


async def test_of_many_at_once_one_makes_it(traders_ledger: str) -> None:
    found = await asyncio.gather(*(get_or_create_trader.fn(ADDRESS) for _ in range(12)))
    assert len({trader.id for trader in found}) == 1
    assert sum(trader.created for trader in found) == 1
    with session(DOMAIN, read_only=True) as opened:
        assert len(opened.exec(select(Trader.id)).all()) == 1


@pytest.mark.parametrize("wrong", ["", "0x5a", ADDRESS + "0", ADDRESS[2:], "0x" + "g" * 40])
async def test_what_is_no_address_is_refused_without_repeating_it(wrong: str) -> None:
    with pytest.raises(ValueError, match="40 hexadecimal digits") as error:
        await get_or_create_trader.fn(wrong)
    assert not wrong or wrong not in str(error.value)
