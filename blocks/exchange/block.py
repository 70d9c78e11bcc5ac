"""The exchange as a Prefect block: its addresses, and what our own is permitted there."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import ClassVar

import httpx
from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, field_validator

from blocks.exchange.address import check_url, limits_key
from blocks.exchange.info import ExchangeClient
from blocks.exchange.limits import CONNECTIONS_ROUTE, INFO_ROUTE, MESSAGES_ROUTE, WeightLimiter
from blocks.exchange.stream import TradeStream
from blocks.exchange.stream_options import StreamOptions
from blocks.rate_ledger import RateLedger
from blocks.rate_window import Window
from blocks.settings import settings

_MINUTE = 60.0


class Exchange(Block):
    """Hyperliquid, or an exchange that speaks as it does. What it permits is shared by all who call from one address.

    Save one when several exchanges are in use, or workers call from several addresses.

    Example:
        ```python
        from blocks.exchange import Exchange

        Exchange(egress="second").save("BLOCK_NAME")
        exchange = Exchange.load("BLOCK_NAME")
        async with exchange.client() as client:
            state = await client.clearinghouse_state("0x...")
        ```
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    _block_type_name = "Exchange"
    _block_type_slug = "exchange"
    _documentation_url = HttpUrl("https://github.com/quintet/quintet/tree/main/docs")
    _description = "Hyperliquid: its addresses, and the weight a minute that all who call from one address share."

    url: str = Field("https://api.hyperliquid.xyz", description="Address of the exchange, without `/info`.")
    ws_url: str = Field("wss://api.hyperliquid.xyz/ws", description="Address of its WebSocket.")
    egress: str = Field(
        "default",
        pattern=r"^[a-z0-9][a-z0-9.-]{0,39}$",
        description="Name of the IP address that this process calls from: who shares it shares the limits.",
    )
    weight_per_minute: int = Field(1200, ge=120, description="Weight that the exchange permits one address.")
    weight_window_seconds: float = Field(60, gt=0, description="In how many seconds; other than 60 for tests only.")

    @field_validator("url")
    @classmethod
    def _check_url(cls, address: str) -> str:
        return check_url(address, "http")

    @field_validator("ws_url")
    @classmethod
    def _check_ws_url(cls, address: str) -> str:
        return check_url(address, "ws")

    @classmethod
    def from_settings(cls) -> "Exchange":
        """As the settings say."""
        traders = settings().traders
        return cls(
            url=traders.exchange_url,
            ws_url=traders.exchange_ws_url,
            egress=traders.egress,
            weight_per_minute=traders.weight_per_minute,
            weight_window_seconds=traders.weight_window_seconds,
        )

    @property
    def key_name(self) -> str:
        """Under what the limits of our address are kept, those of `/info` and of the WebSocket."""
        return limits_key(self.url, self.egress)

    @property
    def limits(self) -> dict[str, tuple[Window, ...]]:
        """What our address is permitted: weight of `/info`, connections that are made and messages that are sent."""
        traders = settings().traders
        return {
            INFO_ROUTE: (Window(self.weight_per_minute, self.weight_window_seconds),),
            CONNECTIONS_ROUTE: (Window(traders.new_connections_per_minute, _MINUTE),),
            MESSAGES_ROUTE: (Window(traders.messages_per_minute, _MINUTE),),
        }

    def limiter(self) -> RateLedger:
        """The ledger that all processes of our address share; `/info` and the stream each enter one."""
        return RateLedger(self.key_name, fixed=self.limits)

    @asynccontextmanager
    async def stream(self, coins: Iterable[str]) -> AsyncIterator[TradeStream]:
        """The public trades of some coins, as the settings say, within the limits that all of our address share.

        Args:
            coins: to follow.

        Raises:
            ValueError: no coin, or more than the exchange permits.
            LedgerError: the database of rates cannot be used.
        """
        options = StreamOptions.from_settings()
        async with (
            self.limiter() as limiter,
            TradeStream(self.ws_url, coins, options, limiter=limiter) as stream,
        ):
            yield stream

    def client(
        self,
        *,
        limiter: WeightLimiter | None = None,
        requests_at_once: int | None = None,
        request_seconds: float | None = None,
        patience_seconds: float | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> ExchangeClient:
        """A client for this exchange; it connects when it is entered. What is not given is as the settings say.

        Args:
            limiter: in place of the ledger that all processes of our address share.
            requests_at_once: requests in flight.
            request_seconds: time that one request may take.
            patience_seconds: time that one call is retried.
            transport: in place of the network, for tests.
        """
        traders = settings().traders
        return ExchangeClient(
            self.url,
            limiter or self.limiter(),
            requests_at_once=requests_at_once or traders.requests_at_once,
            request_seconds=request_seconds or traders.request_seconds,
            patience_seconds=traders.patience_seconds if patience_seconds is None else patience_seconds,
            window_seconds=self.weight_window_seconds,
            transport=transport,
        )
