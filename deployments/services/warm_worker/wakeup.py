"""Hearing of new flow runs at once.

Polling a Prefect server often costs it two write transactions each time, and on SQLite those make other requests fail
and be repeated two seconds later. So the worker polls seldom and listens to the server's events instead: they arrive
some ten milliseconds after a run was made.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from uuid import UUID

import httpx
from prefect._internal.observers import FlowRunCancellingObserver
from prefect.client.orchestration import get_client
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.events.schemas.events import Event
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

# Names of the Scheduled states in which a run can be due.
SCHEDULED_EVENTS = [
    f"prefect.flow-run.{name}" for name in ("Scheduled", "AwaitingRetry", "AwaitingConcurrencySlot", "Resuming")
]
GREATEST_DELAY_SECONDS = 30.0
POOL_POLL_SECONDS = 0.2


class Queue(NamedTuple):
    """A work queue."""

    id: UUID
    name: str


async def listen_for_runs(
    *,
    work_pool_id: UUID,
    on_run: Callable[[UUID, Queue | None], None],
    on_connected: Callable[[], Awaitable[object]],
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger],
) -> None:
    """Call `on_run` for each run of the pool that is scheduled, for ever.

    Args:
        work_pool_id: the pool.
        on_run: takes the flow run's id and its work queue, when the event names it.
        on_connected: called whenever the stream begins, to fetch what was missed.
        logger: where lost connections are reported.
    """
    scheduled = EventFilter(
        event=EventNameFilter(name=SCHEDULED_EVENTS),
        any_resource=EventAnyResourceFilter(id=[f"prefect.work-pool.{work_pool_id}"]),
    )
    delay = 1.0
    while True:
        try:
            async with get_events_subscriber(filter=scheduled) as events:
                await on_connected()
                delay = 1.0
                async for event in events:
                    on_run(_id(event.resource.id), _queue(event))
        except Exception as error:  # noqa: BLE001  whatever ends the stream, polling goes on and it is opened again
            logger.info("The event stream ended (%s: %s); polling until it is back.", type(error).__name__, error)
        await asyncio.sleep(delay)
        delay = min(delay * 2, GREATEST_DELAY_SECONDS)


def _id(resource: str) -> UUID:
    return UUID(resource.rpartition(".")[2])


def _queue(event: Event) -> Queue | None:
    for related in event.related:
        if related.role == "work-queue":
            return Queue(_id(related.id), related.name or "")
    return None


def cancellation_observer(work_pool_id: UUID, on_cancelling: Callable[[UUID], None]) -> FlowRunCancellingObserver:
    """Prefect's observer of cancellations for the runs of one pool: events, or polling while there are none."""
    pool = EventAnyResourceFilter(id=[f"prefect.work-pool.{work_pool_id}"])
    return FlowRunCancellingObserver(
        on_cancelling=lambda flow_run_id: on_cancelling(flow_run_id),
        polling_interval=get_current_settings().worker.cancellation_poll_seconds,
        event_filter=EventFilter(event=EventNameFilter(name=["prefect.flow-run.Cancelling"]), any_resource=pool),
    )


async def wait_for_pool(name: str) -> None:
    """Wait until the API answers and has the pool."""
    async with get_client() as client:
        while True:
            try:
                await client.read_work_pool(name)
            except (httpx.HTTPError, ObjectNotFound):
                await asyncio.sleep(POOL_POLL_SECONDS)
            else:
                return
