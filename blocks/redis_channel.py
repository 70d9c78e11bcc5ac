"""One channel of a Redis server, for telling subscribers what happens.

    async with RedisChannel(url, "trade_events") as channel:
        await channel.publish(messages)

Redis keeps nothing of a channel: who does not listen at that moment misses it. `publish` returns when the server has
taken all messages, and raises where it cannot be told that it has; they may then have been delivered in part, and
whoever publishes them again delivers some of them twice.

The address holds the password. It comes from a setting, and nothing here tells more of it than host and port.

Errors::

    RedisChannelError
    ├── RedisUnavailableError   away, restarting, or too slow: it passes by itself (a ConnectionError too)
    └── RedisRefusedError       wrong password, no permission, an address that cannot be read: a person is needed
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

#: A server that is well answers in milliseconds.
SECONDS = 5.0


class RedisChannelError(Exception):
    """Nothing can be published on the channel."""


class RedisUnavailableError(RedisChannelError, ConnectionError):
    """The server is away, restarting, or gives no answer in time."""


class RedisRefusedError(RedisChannelError):
    """The server does not let us, or the address is none."""


class RedisChannel:
    """Publishes on one channel; connects when something is published, and again after any error.

    Args:
        url: `redis://user:password@host:6379/0`, `rediss://...` or `unix://...`.
        name: of the channel.
        seconds: time that connecting may take, and one call in all.
    """

    def __init__(self, url: SecretStr, name: str, *, seconds: float = SECONDS) -> None:
        self._url = url
        self._name = name
        self._seconds = seconds
        self._redis: Redis | None = None

    def __repr__(self) -> str:
        return f"RedisChannel({self._name!r})"

    async def __aenter__(self) -> "RedisChannel":
        """Read the address; nothing is sent yet.

        Raises:
            RedisRefusedError: it is none.
        """
        try:
            self._redis = Redis.from_url(
                self._url.get_secret_value(),
                socket_timeout=self._seconds,
                socket_connect_timeout=self._seconds,
                # Who publishes decides whether to do so again.
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
        except (ValueError, TypeError):
            # Its text may quote part of the password.
            raise RedisRefusedError("the address of Redis cannot be read: see QUINTET_TRADERS__REDIS_URL") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        redis, self._redis = self._redis, None
        if redis is not None:
            await redis.aclose()

    async def publish(self, messages: Sequence[str]) -> int:
        """Publish messages in their order; one trip for all of them.

        Returns:
            How many subscribers there were, at the most.

        Raises:
            RedisUnavailableError: it cannot be told whether all were taken.
            RedisRefusedError: none was.
        """
        if not messages:
            return 0
        async with self._call() as redis, redis.pipeline(transaction=False) as pipe:
            for message in messages:
                pipe.publish(self._name, message)
            listeners: list[int] = await pipe.execute()
            return max(listeners)

    async def ping(self) -> None:
        """Ask the server for a sign of life.

        Raises:
            RedisUnavailableError: there was none.
            RedisRefusedError: it does not let us.
        """
        async with self._call() as redis:
            await redis.ping()

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[Redis]:
        """The client for one call in so many seconds; its errors are ours."""
        if self._redis is None:
            raise RuntimeError("the channel is not open")
        try:
            async with asyncio.timeout(self._seconds):
                yield self._redis
        except (RedisError, OSError) as error:
            # What was sent may be answered yet, and would be taken for the answer to the next call.
            await self._redis.connection_pool.disconnect()
            raise _ours(error, self._seconds) from error


def _ours(error: RedisError | OSError, seconds: float) -> RedisChannelError:
    if isinstance(error, AuthenticationError):
        return RedisRefusedError("Redis refuses the password or the user: see QUINTET_TRADERS__REDIS_URL")
    if isinstance(error, BusyLoadingError):
        return RedisUnavailableError("Redis is starting, and reads its data")
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return RedisUnavailableError(f"Redis gave no answer in {seconds:g} s")
    if isinstance(error, RedisConnectionError | OSError):
        return RedisUnavailableError("Redis is away: it refuses connections, ended one, or cannot be found")
    return RedisRefusedError(f"Redis does not permit it ({str(error).partition(' ')[0]})")
