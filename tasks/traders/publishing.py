"""Publishes position changes, each at least once and in order: on a Redis channel, or as Prefect events.

Needs the traders ledger, and the setting `QUINTET_TRADERS__REDIS_URL` or, without it, Prefect's API. What cannot be
published waits in its row; nothing else waits for it. Subscribers tell repetitions by the id.
"""

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.events import Event
from prefect.events.schemas.events import Resource
from pydantic import SecretStr

from blocks.engine import session
from blocks.redis_channel import RedisChannel, RedisChannelError
from blocks.settings import settings
from tasks.foundation.core.columns import utc_now
from tasks.foundation.lifecycle import logger
from tasks.traders.core import outbox
from tasks.traders.core.outbox import CHANNEL, Outgoing
from tasks.traders.core.tables import DOMAIN

#: Name of the Prefect event of one position change; its id is the change's.
EVENT = "traders.position.changed"
#: Published and then marked at once. What a killed process had published of them is published again.
BATCH = 500
#: Events in one request to Prefect's API, which has a limit for its size.
PREFECT_BATCH = 100
#: Seconds after which an outage is looked at again: at first, and at most.
_RECHECK_BASE, _RECHECK_CAP = 1.0, 30.0


class PublishingError(Exception):
    """Position changes cannot be published just now; they wait in their rows."""


class EventSink(Protocol):
    """Takes events, in order; returns when all are taken."""

    async def send(self, batch: Sequence[Outgoing]) -> None:
        """Take these.

        Raises:
            PublishingError: it cannot be told that all were taken.
        """


class Publisher:
    """Publishes what waits, again and again, over one connection.

        async with Publisher() as publisher:
            ...
            await publisher.publish()

    An outage is logged when it begins and when it ends, and is looked at less and less often; it is never raised, so
    that the work around goes on.
    """

    def __init__(self) -> None:
        self._redis: RedisChannel | None = None
        self._sink: EventSink | None = None
        self._next_try = 0.0
        self._wait = _RECHECK_BASE
        #: What is wrong, in words for people; None where nothing is.
        self.error: str | None = None
        self.published = 0

    async def __aenter__(self) -> "Publisher":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        redis, self._redis, self._sink = self._redis, None, None
        if redis is not None:
            await redis.__aexit__(None, None, None)

    async def publish(self) -> int:
        """Publish all that waits, unless an outage was seen a moment ago.

        Returns:
            How many were published now; 0 in an outage.

        Raises:
            LedgerError: the database cannot be used.
        """
        if time.monotonic() < self._next_try:
            return 0
        before = self.published
        try:
            await self.publish_all()
        except PublishingError as error:
            if self.error is None:
                logger().warning("position changes cannot be published, they wait", reason=str(error))
            self.error = str(error)
            self._next_try = time.monotonic() + self._wait
            self._wait = min(self._wait * 2, _RECHECK_CAP)
        else:
            if self.error is not None:
                logger().info("position changes are published again")
            self.error, self._wait = None, _RECHECK_BASE
        return self.published - before

    async def publish_all(self) -> None:
        """Publish all that waits.

        Raises:
            PublishingError: it cannot be published; what was before that stays published.
            LedgerError: the database cannot be used.
        """
        while batch := await asyncio.to_thread(_unpublished):
            if self._sink is None:
                self._sink = await self._connected()
            await self._sink.send(batch)
            await asyncio.to_thread(_mark, batch)
            self.published += len(batch)
            if len(batch) < BATCH:
                return

    async def _connected(self) -> EventSink:
        url = settings().traders.redis_url
        if url is None:
            return _PrefectEvents()
        self._redis = await _opened(url)
        return _RedisEvents(self._redis)


async def publish_events() -> int:
    """Publish all position changes that wait.

    Returns:
        How many were published now.

    Raises:
        PublishingError: Redis, or Prefect's API, is away or refuses; the rest waits.
        LedgerError: the database cannot be used.
    """
    async with Publisher() as publisher:
        await publisher.publish_all()
        return publisher.published


async def check_channel() -> str:
    """Ask the channel for a sign of life, and publish nothing.

    Returns:
        What it is, for people.

    Raises:
        PublishingError: it gives none.
    """
    url = settings().traders.redis_url
    if url is None:
        return "no Redis is set: events are rows and Prefect events"
    channel = await _opened(url)
    try:
        await channel.ping()
    except RedisChannelError as error:
        raise PublishingError(str(error)) from error
    finally:
        await channel.__aexit__(None, None, None)
    return f"Redis answers; channel {CHANNEL}"


async def _opened(url: SecretStr) -> RedisChannel:
    try:
        return await RedisChannel(url, CHANNEL).__aenter__()
    except RedisChannelError as error:
        raise PublishingError(str(error)) from error


class _RedisEvents:
    """The channel of the former system."""

    def __init__(self, channel: RedisChannel) -> None:
        self._channel = channel

    async def send(self, batch: Sequence[Outgoing]) -> None:
        try:
            await self._channel.publish([outbox.message(outgoing) for outgoing in batch])
        except RedisChannelError as error:
            raise PublishingError(str(error)) from error


class _PrefectEvents:
    """Prefect's own events. `emit_event` would only queue them in this process: what it has not sent dies with it."""

    async def send(self, batch: Sequence[Outgoing]) -> None:
        bodies = [_event(outgoing).model_dump(mode="json") for outgoing in batch]
        try:
            client = get_client()
        except ValueError as error:
            # What Prefect raises where it is told of no server and may not start one.
            raise PublishingError("no Redis is set, and no Prefect server to take events") from error
        try:
            async with client:
                for start in range(0, len(bodies), PREFECT_BATCH):
                    # A server stores an event once, by its id.
                    answer = await client.request("POST", "/events", json=bodies[start : start + PREFECT_BATCH])
                    answer.raise_for_status()
        except (httpx.HTTPError, OSError) as error:
            raise PublishingError(f"Prefect's API does not take events ({type(error).__name__})") from error


def _event(outgoing: Outgoing) -> Event:
    content = outbox.content(outgoing)
    return Event(
        id=UUID(outgoing.event.id),
        event=EVENT,
        occurred=outgoing.occurred,
        resource=Resource(
            {
                "prefect.resource.id": f"traders.position.{outgoing.address}.{outgoing.event.coin}",
                "prefect.resource.name": f"{outgoing.event.coin} of {outgoing.address}",
                "traders.change": outgoing.event.change.value,
            }
        ),
        payload=content,
    )


def _unpublished() -> list[Outgoing]:
    with session(DOMAIN, read_only=True) as opened:
        return outbox.unpublished(opened, limit=BATCH)


def _mark(batch: Sequence[Outgoing]) -> None:
    with session(DOMAIN) as opened:
        outbox.mark_published(opened, [outgoing.number for outgoing in batch], now=utc_now())
