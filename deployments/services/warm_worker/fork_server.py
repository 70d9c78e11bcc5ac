"""The worker's end of the template: start it, send it jobs, hear of ends, start it again when it dies."""

import asyncio
import itertools
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from deployments.processes import ProcessIdentity
from deployments.services.warm_worker.jobs import Job, Notice, Request

# A template that dies at once is started again after 1, 2, 4, ... seconds, at most this many.
GREATEST_DELAY_SECONDS = 30.0
# How often the children of a dead template are looked at: nobody else tells of their end.
ORPHAN_POLL_SECONDS = 0.2


class ForkServerError(RuntimeError):
    """No process could be made for a job."""


@dataclass
class ForkedProcess:
    """A process that the template forked.

    Attributes:
        pid: its process id.
        ended: becomes its exit code; None when the template died first, so that nobody knows.
        cpu_seconds: user and system time, known at its end.
    """

    pid: int
    ended: asyncio.Future[int | None]
    cpu_seconds: float | None = None

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send it a signal; with `group`, to all it has started as well."""
        with suppress(ProcessLookupError):
            if group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)


@dataclass
class _Pending:
    started: asyncio.Future[ForkedProcess]
    process: ForkedProcess | None = None


@dataclass
class ForkServer:
    """One template process and what it forked.

    Attributes:
        preload: packages that the template imports with all their modules.
        logger: where deaths of the template are reported.
    """

    preload: Sequence[str]
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger]
    pid: int | None = None
    _keys: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _pending: dict[int, _Pending] = field(default_factory=dict)
    _writer: asyncio.StreamWriter | None = None
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _supervisor: asyncio.Task[None] | None = None
    _orphans: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self) -> None:
        """Start the template; jobs wait until it is ready."""
        self._supervisor = asyncio.create_task(self._supervise(), name="warm worker template")

    async def stop(self) -> None:
        """End the template; children run on."""
        for task in (self._supervisor, *self._orphans):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def fork(self, job: Job) -> ForkedProcess:
        """Have a process forked for the job.

        Raises:
            ForkServerError: no process was made, or the template died while it was at it.
        """
        await self._ready.wait()
        writer = self._writer
        if writer is None:
            raise ForkServerError("the template is not running")
        key = next(self._keys)
        pending = self._pending[key] = _Pending(asyncio.get_running_loop().create_future())
        writer.write(Request(key=key, job=job).model_dump_json().encode() + b"\n")
        return await pending.started

    async def _supervise(self) -> None:
        delay = 1.0
        while True:
            was_ready = await self._run_template()
            delay = 1.0 if was_ready else min(delay * 2, GREATEST_DELAY_SECONDS)
            self.logger.error("The template process died; starting it again in %.0f s.", delay)
            await asyncio.sleep(delay)

    async def _run_template(self) -> bool:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "deployments.services.warm_worker.template",
                str(theirs.fileno()),
                *self.preload,
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        self.pid = process.pid
        reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 20)
        self._writer = writer
        try:
            while line := await self._read_line(reader):
                self._take(Notice.model_validate_json(line))
            return self._ready.is_set()
        finally:
            self._ready.clear()
            self._writer = None
            writer.close()
            # It ends by itself when the socket closes; a template stuck in an import does not.
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            self.pid = None
            self._abandon()

    @staticmethod
    async def _read_line(reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.readline()
        except ConnectionError:
            return b""

    def _take(self, notice: Notice) -> None:
        if notice.what == "ready":
            self._ready.set()
            return
        pending = self._pending[notice.key]
        if notice.what == "started":
            pending.process = ForkedProcess(notice.pid, asyncio.get_running_loop().create_future())
            if not pending.started.done():
                pending.started.set_result(pending.process)
        elif notice.what == "failed":
            del self._pending[notice.key]
            if not pending.started.done():
                pending.started.set_exception(ForkServerError(notice.error))
        else:
            del self._pending[notice.key]
            if pending.process is not None and not pending.process.ended.done():
                pending.process.cpu_seconds = notice.cpu_seconds
                pending.process.ended.set_result(notice.code)

    def adopt(self, child: ProcessIdentity) -> ForkedProcess:
        """Look after a process that a dead template forked."""
        process = ForkedProcess(child.pid, asyncio.get_running_loop().create_future())
        self._watch_orphan(process, child)
        return process

    def _watch_orphan(self, process: ForkedProcess, identity: ProcessIdentity | None) -> None:
        watch = asyncio.create_task(self._watch(process, identity))
        self._orphans.add(watch)
        watch.add_done_callback(self._orphans.discard)

    def _abandon(self) -> None:
        """The template is gone: watch its living children, give up on jobs that it had not begun."""
        for pending in self._pending.values():
            if pending.process is not None:
                self._watch_orphan(pending.process, ProcessIdentity.of(pending.process.pid))
            elif not pending.started.done():
                pending.started.set_exception(ForkServerError("the template process died"))
        self._pending.clear()

    @staticmethod
    async def _watch(process: ForkedProcess, identity: ProcessIdentity | None) -> None:
        # The process is no child of ours: only looking tells that it ended.
        while identity is not None and identity.alive():  # noqa: ASYNC110
            await asyncio.sleep(ORPHAN_POLL_SECONDS)
        if not process.ended.done():
            process.ended.set_result(None)
