"""The template: a process that has imported everything a run needs, and forks.

It keeps no thread, no event loop and no connection but the socket to its worker, so that a fork copies nothing that
cannot be copied. It ends when the worker closes the socket or dies; its children run on.

    python -m deployments.services.warm_worker.template SOCKET_FD MODULE...
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import threading
import traceback
from typing import Any

from prefect.logging.highlighters import PrefectConsoleHighlighter
from pydantic import BaseModel

from deployments.services.warm_worker.child import run_job
from deployments.services.warm_worker.defaults import note_defaults
from deployments.services.warm_worker.intent import END_SIGNAL
from deployments.services.warm_worker.jobs import Job, Request
from deployments.services.warm_worker.shortcuts import SettingsOf, install

# What Prefect imports only when a run first needs it.
ENGINE_MODULES = (
    "prefect.engine",
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.task_worker",
    "prefect.task_runners",
    "prefect.artifacts",
    "prefect.concurrency.asyncio",
    "prefect.events.clients",
    "prefect.events.worker",
    "prefect.logging.handlers",
    "prefect.runner._hook_runner",
    "prefect.telemetry.run_telemetry",
    "prefect._internal.metrics",
    "prefect._internal.analytics",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "websockets.asyncio.client",
    "asyncio.base_events",
    "httpcore._async.connection_pool",
    "anyio._backends._asyncio",
    "encodings.idna",
    "rich._emoji_codes",
)


def preload(packages: list[str]) -> None:
    """Import the engine and every module of the given packages.

    A flow module that cannot be imported is reported and left out: its own runs then fail with that error, the others
    do not.
    """
    for name in ENGINE_MODULES:
        importlib.import_module(name)
    for package in packages:
        _import_or_report(package)
        path = getattr(sys.modules.get(package), "__path__", None)
        if path is not None:
            for module in pkgutil.walk_packages(path, f"{package}.", onerror=lambda name: None):
                _import_or_report(module.name)


def finish_models(base: type[BaseModel] = BaseModel) -> None:
    """Build what pydantic puts off until a model is first used."""
    for model in base.__subclasses__():
        if not model.__pydantic_complete__:
            model.model_rebuild(raise_errors=False)
        finish_models(model)


def _import_or_report(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception:  # noqa: BLE001  any flow module may fail in its own way
        print(f"The warm worker could not preload {name}:", file=sys.stderr)  # noqa: T201
        traceback.print_exc()


class Template:
    """Reads jobs from the worker, forks, and reports ends."""

    def __init__(self, control: socket.socket) -> None:
        self._settings_of = SettingsOf()
        self._control = control
        self._buffer = b""
        self._children: dict[int, int] = {}
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> None:
        """Fork until the worker is gone."""
        signal.set_wakeup_fd(self._wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._send({"what": "ready", "pid": os.getpid()})
        while True:
            readable, _, _ = select.select([self._control.fileno(), self._wake_read], [], [])
            if self._wake_read in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
                self._reap()
            if self._control.fileno() in readable and not self._receive():
                return

    def _receive(self) -> bool:
        try:
            data = self._control.recv(1 << 20)
        except ConnectionError:
            return False
        if not data:
            return False
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._fork(line)
        return True

    def _fork(self, line: bytes) -> None:
        request = Request.model_validate_json(line)
        key = request.key
        self._settings_of.prepare(request.job.env)
        try:
            pid = os.fork()
        except OSError as error:
            self._send({"what": "failed", "key": key, "error": f"fork: {error.strerror}"})
            return
        if pid == 0:
            self._become_child(request.job)
        self._children[pid] = key
        self._send({"what": "started", "key": key, "pid": pid})

    def _become_child(self, job: Job) -> None:
        # Nothing below may return into the template's loop.
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._control.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            gc.enable()
            run_job(job, self._settings_of)
        except BaseException:  # noqa: BLE001  the process ends here, whatever it was
            traceback.print_exc()
        finally:
            os._exit(1)

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._send(
                {
                    "what": "exited",
                    "key": self._children.pop(pid),
                    "pid": pid,
                    "code": os.waitstatus_to_exitcode(status),
                    "cpu_seconds": usage.ru_utime + usage.ru_stime,
                }
            )

    def _send(self, notice: dict[str, Any]) -> None:
        # A worker that is gone reads nothing; the loop sees that by itself.
        with contextlib.suppress(ConnectionError):
            self._control.sendall(json.dumps(notice).encode() + b"\n")


def main(arguments: list[str]) -> None:
    """Preload, check that forking is safe, serve."""
    control = socket.socket(fileno=int(arguments[0]))
    # Ctrl-C in a terminal is the worker's affair.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A child that does not listen yet is asked again; it must not die of it.
    signal.signal(END_SIGNAL, signal.SIG_IGN)
    note_defaults()
    preload(arguments[1:])
    install()
    finish_models()
    # Compiles the patterns that colour log lines.
    PrefectConsoleHighlighter()("Flow run")
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if threads:
        raise SystemExit(f"Preloading started threads, which a fork would lose: {', '.join(threads)}")
    # Frozen objects stay out of garbage collection, so that children do not copy the pages they lie in.
    gc.collect()
    gc.freeze()
    gc.disable()
    Template(control).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
