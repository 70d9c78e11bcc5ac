"""Alarms for runs that are not due yet but soon will be: a run starts when it is due, not at the next poll."""

import asyncio
import time
from collections.abc import Callable
from uuid import UUID

from prefect.client.schemas.objects import FlowRun

from deployments.services.warm_worker.wakeup import Queue


class Alarms:
    """Rings when runs are due.

    Args:
        ring: told of a run and its queue, outside of any task.
    """

    def __init__(self, ring: Callable[[UUID, Queue | None], None]) -> None:
        self._ring = ring
        self._timers: dict[UUID, asyncio.TimerHandle] = {}

    def postpone(self, flow_run: FlowRun, within_seconds: float) -> bool:
        """Set an alarm for a run that is not due yet; whether it was not.

        Args:
            flow_run: the run.
            within_seconds: one that is due later than that is left to a later poll.
        """
        when = flow_run.next_scheduled_start_time or flow_run.expected_start_time
        seconds = 0.0 if when is None else when.timestamp() - time.time()
        if seconds <= 0:
            return False
        if seconds <= within_seconds and flow_run.id not in self._timers:
            queue_id = flow_run.work_queue_id
            queue = None if queue_id is None else Queue(queue_id, flow_run.work_queue_name or "")
            self._timers[flow_run.id] = asyncio.get_running_loop().call_later(seconds, self._ring, flow_run.id, queue)
        return True

    def forget(self, flow_run_id: UUID) -> None:
        """A run's alarm has rung, or is not needed."""
        self._timers.pop(flow_run_id, None)

    def stop(self) -> None:
        """None rings any more."""
        for timer in self._timers.values():
            timer.cancel()
