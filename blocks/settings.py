"""Every setting of quintet, read from the environment with the prefix `QUINTET_`.

Nested settings use two underscores: `QUINTET_DICOM__RECEIVE__PORT=11112`. `docs/settings.md` lists all of them; a test
keeps that table true. Secrets belong in blocks or in the variables typed `SecretStr` here.
"""

import os
from collections.abc import Iterator
from difflib import get_close_matches
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "QUINTET_"
# Share of a variable's name that is as in a setting's: below it, the variable is somebody else's (Kubernetes makes
# `QUINTET_SERVICE_HOST` for a service of that name).
_LIKENESS = 0.85


class SettingsGroup(BaseModel):
    """Settings that belong together. A name that is none of them is an error: it would be a setting without effect."""

    model_config = ConfigDict(extra="forbid")


class DicomReceiveSettings(SettingsGroup):
    """The DICOM listener: who may associate, how much, and when it says no."""

    host: str = Field("127.0.0.1", description="Address the listener binds.")
    port: int = Field(11112, ge=0, le=65535, description="Port the listener binds; 0 takes a free one.")
    ae_title: str = Field("QUINTET", max_length=16, description="Called AE title of the listener.")
    require_called_ae: bool = Field(False, description="Reject associations that call another AE title.")
    allowed_calling_aes: list[str] = Field([], description="Calling AE titles that may associate; empty allows all.")
    allowed_networks: list[IPv4Network | IPv6Network] = Field(
        [], description="Networks (CIDR) that may associate; empty allows all that can reach the address."
    )
    tls_certificate: Path | None = Field(None, description="PEM certificate; turns TLS on.")
    tls_key: Path | None = Field(None, description="PEM private key of the certificate.")
    tls_client_ca: Path | None = Field(None, description="PEM of the authority that client certificates must have.")
    maximum_associations: int = Field(50, ge=1, description="Associations at once; more are rejected (transient).")
    maximum_pdu_size: int = Field(131072, ge=4096, description="Largest PDU accepted, bytes (131072 is DCMTK's most).")
    acse_timeout_seconds: float = Field(30, gt=0, description="Wait for association messages.")
    dimse_timeout_seconds: float = Field(60, gt=0, description="Wait for the rest of a DIMSE message.")
    network_timeout_seconds: float = Field(120, gt=0, description="Idle time after which an association is dropped.")
    quiet_seconds: float = Field(30, gt=0, description="Idle time after which an open association becomes a batch.")
    soft_free_percent: float = Field(15, ge=0, le=100, description="Free disk below which an alert event is sent.")
    hard_free_percent: float = Field(5, ge=0, le=100, description="Free disk below which associations are rejected.")
    hard_free_bytes: int = Field(
        512 * 1024**2, ge=0, description="Free bytes below which associations are rejected, whatever the percentage."
    )
    soft_backlog: int = Field(20_000, ge=1, description="Undisposed instances above which an alert event is sent.")
    submit_roots: list[Path] = Field(
        [], description="Folders that `dicom-process-file` may read from; empty allows all that the worker can read."
    )
    hard_backlog: int = Field(200_000, ge=1, description="Undisposed instances above which associations are rejected.")


class DicomDeliverySettings(SettingsGroup):
    """Delivery: batches, backoff and the circuit breaker."""

    batch_size: int = Field(100, ge=1, description="Instances that one task run evaluates or one association sends.")
    lease_seconds: float = Field(120, gt=0, description="Time after which a claim of a dead worker expires.")
    backoff_base_seconds: float = Field(5, gt=0, description="Full-jitter backoff: first bound.")
    backoff_cap_seconds: float = Field(600, gt=0, description="Full-jitter backoff: greatest bound.")
    maximum_attempts: int = Field(10, ge=1, description="Failed attempts before a delivery is dead (nothing deleted).")
    breaker_failures: int = Field(5, ge=1, description="Consecutive failures that open a destination's breaker.")
    breaker_seconds: float = Field(60, gt=0, description="Time an open breaker waits before it lets a probe through.")


class DicomDispositionSettings(SettingsGroup):
    """What becomes of a file after processing."""

    delete_unmatched_files: bool = Field(False, description="Move files that no rule matched to the dustbin.")
    delete_on_no_destination: bool = Field(False, description="Same for files modified but sent nowhere.")
    quarantine_on_partial_failure: bool = Field(
        True, description="Move files with a dead delivery to quarantine (formerly MOVE_TO_ERROR_ON_PARTIAL_FAILURE)."
    )
    delete_on_partial_failure_if_modified: bool = Field(
        False, description="Without quarantine: move modified files with a dead delivery to the dustbin."
    )
    retention_days: float = Field(30, ge=0, description="Days a file stays in the dustbin.")
    mark_days: float = Field(1, ge=0, description="Days between marking a dustbin file and deleting it.")


class DicomSettings(SettingsGroup):
    """The DICOM gateway."""

    receive: DicomReceiveSettings = DicomReceiveSettings()
    delivery: DicomDeliverySettings = DicomDeliverySettings()
    disposition: DicomDispositionSettings = DicomDispositionSettings()


class LeagueSettings(SettingsGroup):
    """League of Legends: the Riot API, and how matches are fetched from it."""

    riot_api_key: SecretStr | None = Field(
        None, description="Key of the Riot API; unset: the `riot-api` block document named next."
    )
    riot_api_block: str = Field("league", description="Block document of type `riot-api` used where no key is set.")
    riot_base_url: str = Field(
        "https://{route}.api.riotgames.com",
        description="Address of the Riot API; `{route}` becomes `na1`, `americas`...",
    )
    riot_key_profile: Literal["development", "production"] = Field(
        "development", description="Limits assumed until the API's headers tell the key's own: 20:1,100:120 or 500:10."
    )
    # 20 at once fill a production key's 50 a second up to 0.4 s an answer; more only cost CPU (each request looks at
    # every open connection).
    requests_at_once: int = Field(20, ge=1, description="Requests in flight to one route, per worker process.")
    request_seconds: float = Field(20, gt=0, description="Time one request may take.")
    patience_seconds: float = Field(
        900, gt=0, description="Time that a request is retried on 429, 5xx and connection errors before it has failed."
    )
    batch_size: int = Field(100, ge=1, description="Matches that one task run fetches.")
    overlap_hours: float = Field(
        24, ge=0, description="How far before the last listing a sync asks again, for games that were listed late."
    )
    recheck_base_seconds: float = Field(
        3600, gt=0, description="Time until a match answered 404 or failed is asked for again; doubles each time."
    )
    recheck_cap_seconds: float = Field(2_592_000, gt=0, description="The longest such time.")

    @field_validator("riot_api_key")
    @classmethod
    def _check_key(cls, key: SecretStr | None) -> SecretStr | None:
        """A key as it can be sent; an empty variable is one that is not set."""
        if key is None or not key.get_secret_value().strip():
            return None
        from blocks.riot.address import check_api_key

        return SecretStr(check_api_key(key.get_secret_value()))

    @field_validator("riot_base_url")
    @classmethod
    def _check_base_url(cls, template: str) -> str:
        """An address that the key may be sent to."""
        from blocks.riot.address import check_base_url

        return check_base_url(template)


class TradersSettings(SettingsGroup):
    """The trader leaderboard: the exchange, and how its traders are found, tracked and ranked."""

    exchange_url: str = Field("https://api.hyperliquid.xyz", description="Address of the exchange's `/info`.")
    exchange_ws_url: str = Field("wss://api.hyperliquid.xyz/ws", description="Address of its WebSocket.")
    egress: str = Field(
        "default",
        pattern=r"^[a-z0-9][a-z0-9.-]{0,39}$",
        description="Name of the IP address that this process calls from: who shares it shares the limits.",
    )
    weight_per_minute: int = Field(1200, ge=120, description="Weight that the exchange permits one address.")
    weight_window_seconds: float = Field(60, gt=0, description="In how many seconds; other than 60 for tests only.")
    requests_at_once: int = Field(20, ge=1, description="Requests to `/info` in flight, per worker process.")
    request_seconds: float = Field(20, gt=0, description="Time one request may take.")
    patience_seconds: float = Field(
        900, gt=0, description="Time that a request is retried on 429, 5xx and connection errors before it has failed."
    )
    coins: str = Field("BTC,ETH,SOL,AVAX,SUI", description="Coins whose trades are followed, comma separated.")
    subscriptions: int = Field(1000, ge=1, description="Subscriptions that the exchange permits one address.")
    connections: int = Field(10, ge=1, description="WebSocket connections that it permits.")
    new_connections_per_minute: int = Field(30, ge=1, description="New ones that it permits a minute.")
    messages_per_minute: int = Field(2000, ge=1, description="Messages that it permits to be sent a minute.")
    subscriptions_per_connection: int = Field(100, ge=1, description="Coins that share one connection.")
    subscribe_interval_seconds: float = Field(0.1, ge=0, description="Pause between two subscriptions.")
    ping_seconds: float = Field(20, gt=0, le=30, description="Time between two pings.")
    silence_seconds: float = Field(50, gt=0, description="A connection that is silent for so long is taken for dead.")
    reconnect_base_seconds: float = Field(0.5, gt=0, description="First wait before a reconnect; doubles, with jitter.")
    reconnect_cap_seconds: float = Field(60, gt=0, description="The longest such wait.")
    batch_trades: int = Field(10_000, ge=1, description="Trades that one transaction stores at most.")
    flush_seconds: float = Field(1, gt=0, description="Time after which fewer are stored too.")
    queue_trades: int = Field(
        200_000, ge=1, description="Trades in memory at most: a slow database slows the reading down."
    )
    settle_seconds: float = Field(2, ge=0, description="Time after which no earlier trade is expected on a connection.")
    gap_fill_weight: int = Field(
        600, ge=0, description="Weight that one gap may cost to be filled from the fills of single traders."
    )
    track_seconds: float = Field(70, gt=0, description="Time that one run of the tracking takes at most.")
    history_share: float = Field(
        0.25, ge=0, le=1, description="Part of the weight that goes to histories while both they and positions are due."
    )
    history_hours: float = Field(6, gt=0, description="Time after which an active trader's history is fetched again.")
    recheck_base_seconds: float = Field(60, gt=0, description="Wait after a trader could not be polled; doubles.")
    recheck_cap_seconds: float = Field(21_600, gt=0, description="The longest such wait.")
    redis_url: SecretStr | None = Field(
        None,
        description="Redis on whose channel `trade_events` position changes are published; unset: rows and events.",
    )
    minimum_days: int = Field(30, ge=2, description="Days with a return that a trader needs to be ranked.")
    minimum_volume: float = Field(1000, ge=0, description="Volume in USD that a trader needs to be ranked.")
    minimum_equity: float = Field(100, ge=0, description="Equity in USD below which a day has no return.")
    minimum_round_trips: int = Field(5, ge=0, description="Closed positions that a trader needs to be ranked.")
    leaderboard_days: int = Field(365, ge=30, description="Days before now whose returns count.")
    standings_kept: int = Field(100, ge=1, description="Places that each run keeps as rows in each profile.")

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, url: SecretStr | None) -> SecretStr | None:
        """A Redis URL; an empty variable is one that is not set, and the error tells nothing of it."""
        if url is None or not url.get_secret_value().strip():
            return None
        if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("no Redis URL, such as redis://user:password@host:6379/0")
        return url

    @property
    def coin_names(self) -> tuple[str, ...]:
        """The coins, each once."""
        return tuple(dict.fromkeys(name.strip() for name in self.coins.split(",") if name.strip()))


class Settings(BaseSettings):
    """All of quintet's settings."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", hide_input_in_errors=True
    )

    home: Path = Field(Path("~/.quintet"), description="Where data, rules and databases live.")
    database_url: SecretStr | None = Field(
        None, description="PostgreSQL URL (one schema per domain); unset: one SQLite file per domain in the home."
    )
    log_format: Literal["console", "json"] = Field("console", description="How log lines look.")
    work_pool_type: Literal["warm", "process", "docker", "kubernetes"] = Field(
        "warm", description="Type of the `quintet` work pool that `quintet apply` declares."
    )
    dicom: DicomSettings = DicomSettings()
    league: LeagueSettings = LeagueSettings()
    traders: TradersSettings = TradersSettings()

    @model_validator(mode="before")
    @classmethod
    def _find_misspelt(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Let variables that are almost a setting be told as unknown; in groups, all unknown ones are."""
        known = [name for name, _ in setting_fields(cls)]
        groups = tuple(name for name in cls.model_fields if _group(cls, name) is not None)
        for name in os.environ:
            setting = name.upper()
            if not setting.startswith(PREFIX) or setting in known:
                continue
            key = setting.removeprefix(PREFIX).lower()
            if key.partition("__")[0] not in groups and get_close_matches(setting, known, 1, _LIKENESS):
                values[key] = os.environ[name]
        return values

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, url: SecretStr | None) -> SecretStr | None:
        """A PostgreSQL URL; the error tells nothing of it, for it may hold a password."""
        if url is not None:
            from sqlalchemy.engine import make_url
            from sqlalchemy.exc import ArgumentError

            try:
                kind = make_url(url.get_secret_value()).get_backend_name()
            except (ArgumentError, ValueError):
                kind = ""
            if kind not in ("postgresql", "postgres"):
                raise ValueError("no PostgreSQL URL, such as postgresql://user:password@host:5432/name") from None
        return url

    @property
    def root(self) -> Path:
        """The home as an absolute path with `~` expanded."""
        return self.home.expanduser().resolve()

    def domain_home(self, domain: str) -> Path:
        """The folder of one domain; made when absent.

        Args:
            domain: `dicom`, `league`, ...

        Raises:
            OSError: the home cannot be written.
        """
        folder = self.root / domain
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder


def _group(model: type[BaseModel], field: str) -> type[BaseModel] | None:
    kind = model.model_fields[field].annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def setting_fields(model: type[BaseModel] = Settings, prefix: str = PREFIX) -> Iterator[tuple[str, FieldInfo]]:
    """All settings, each by its environment variable."""
    for field, about in model.model_fields.items():
        name, group = f"{prefix}{field.upper()}", _group(model, field)
        if group is None:
            yield name, about
        else:
            yield from setting_fields(group, f"{name}__")


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once; `settings.cache_clear()` reads them anew."""
    return Settings()
