"""Which exchange tasks ask, and that those inside one another share a client."""

import pytest
from pydantic import ValidationError

from blocks.exchange import Exchange
from tasks.traders.api import exchange, exchange_client


async def test_without_a_document_the_settings_say_which(
    prefect_api: str, rates: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blocks.settings import settings

    monkeypatch.setenv("QUINTET_TRADERS__EGRESS", "second")
    settings.cache_clear()
    assert (await exchange()).egress == "second"


async def test_a_document_goes_before_the_settings(prefect_api: str, rates: str) -> None:
    await Exchange(egress="third").save("traders", overwrite=True)
    try:
        assert (await exchange()).egress == "third"
    finally:
        await Exchange.adelete("traders")


async def test_a_document_that_cannot_be_read_is_not_passed_over(
    prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(name: str) -> Exchange:
        return Exchange(egress="Not A Name")

    monkeypatch.setattr(Exchange, "aload", broken)
    with pytest.raises(ValidationError):
        await exchange()


async def test_tasks_inside_one_another_share_a_client(prefect_api: str, rates: str) -> None:
    async with exchange_client() as outer:
        async with exchange_client() as inner:
            assert inner is outer
        # The inner one has not closed it.
        with pytest.raises(RuntimeError, match="open already"):
            await outer.__aenter__()
    async with exchange_client() as another:
        assert another is not outer
