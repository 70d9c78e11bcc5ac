"""The Riot API as a Prefect block: key, address, and what the key permits until the API has told."""

import hashlib
from typing import ClassVar, Literal

import httpx
from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator

from blocks.rate_ledger import RateLedger
from blocks.rate_window import Window
from blocks.riot.address import check_api_key, check_base_url
from blocks.riot.client import RiotClient
from blocks.riot.limits import RateLimiter
from blocks.settings import settings

#: Windows of the application limit for each key profile, on every route. Source: the developer portal.
PROFILES: dict[str, tuple[Window, ...]] = {
    "development": (Window(20, 1), Window(100, 120)),
    "production": (Window(500, 10), Window(30_000, 600)),
}
#: Hexadecimal digits of the key's SHA-256 that tell keys apart where limits are kept.
_FINGERPRINT = 16


class RiotApi(Block):
    """The Riot API with a key of its own. Its limits are learned from its answers and shared by all workers.

    Save one when several keys are in use, or when the key must not stand in the environment, and name it in the
    setting `QUINTET_LEAGUE__RIOT_API_BLOCK`.

    Example:
        ```python
        from blocks.riot import RiotApi

        RiotApi(api_key="RGAPI-...").save("BLOCK_NAME")
        api = RiotApi.load("BLOCK_NAME")
        async with api.client() as client:
            account = await client.account_by_riot_id("Name", "TAG", regional="europe")
        ```
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    _block_type_name = "Riot API"
    _block_type_slug = "riot-api"
    _documentation_url = HttpUrl("https://github.com/quintet/quintet/tree/main/docs")
    _description = "The Riot API with a key of its own, whose limits are learned and shared by all workers."

    api_key: SecretStr = Field(description="Key from the developer portal; development keys end after 24 hours.")
    base_url: str = Field(
        "https://{route}.api.riotgames.com",
        description="Address of the API; {route} becomes the platform or region. Unencrypted only on this machine.",
    )
    key_profile: Literal["development", "production"] = Field(
        "development", description="Limits assumed until the API's headers tell the key's own: 20:1,100:120 or 500:10."
    )

    @field_validator("api_key")
    @classmethod
    def _check_api_key(cls, key: SecretStr) -> SecretStr:
        return SecretStr(check_api_key(key.get_secret_value()))

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, template: str) -> str:
        return check_base_url(template)

    @property
    def fingerprint(self) -> str:
        """What the key is called where its limits are kept: tells keys apart, and tells nothing of the key."""
        return hashlib.sha256(self.api_key.get_secret_value().encode()).hexdigest()[:_FINGERPRINT]

    def client(
        self,
        *,
        limiter: RateLimiter | None = None,
        requests_at_once: int | None = None,
        request_seconds: float | None = None,
        patience_seconds: float | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> RiotClient:
        """A client for this API; it connects when it is entered. What is not given is as the settings say.

        Args:
            limiter: in place of the ledger that all processes of this key share.
            requests_at_once: requests in flight to one route.
            request_seconds: time that one request may take.
            patience_seconds: time that one call is retried.
            transport: in place of the network, for tests.
        """
        league = settings().league
        return RiotClient(
            self.api_key,
            self.base_url,
            limiter or RateLedger(self.fingerprint, PROFILES[self.key_profile]),
            requests_at_once=requests_at_once or league.requests_at_once,
            request_seconds=request_seconds or league.request_seconds,
            patience_seconds=league.patience_seconds if patience_seconds is None else patience_seconds,
            transport=transport,
        )
