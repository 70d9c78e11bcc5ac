"""What Prefect's client and engine do anew in every process, done once in the template or only when needed.

Together these were two thirds of a run's CPU time. Each replaces one name of Prefect 3.8 and keeps its meaning:

- A TLS context loads 130 root certificates (34 ms), and a run makes four. Contexts of the same certificate file are
  shared.
- Each run opens a second event loop, client and web socket to hear whether it is suspended, waits for them before its
  first line and up to 0.2 s after its last. A run that is still going after `SUSPENSION_SECONDS` opens them then;
  whether it is suspended is also asked before its first line, as always.
- Settings are read from 54 classes and five sources (45 ms): once for each set of `PREFECT_*` variables.
"""

import contextvars
import functools
import os
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from uuid import UUID

import certifi
import prefect._flow_run_suspension
import prefect._internal.websockets
import prefect.client.orchestration
import prefect.context
import prefect.flow_engine
from prefect._flow_run_suspension import FlowRunSuspensionRequest

SUSPENSION_SECONDS = 5.0


def install() -> None:
    """Put the shortcuts into the Prefect of this process."""
    shared = ModuleType("ssl")
    shared.__dict__.update(ssl.__dict__)
    shared.__dict__["create_default_context"] = _shared_context
    for module in (prefect.client.orchestration, prefect._internal.websockets):
        module.__dict__["ssl"] = shared
    _shared_context(cafile=certifi.where())
    prefect.flow_engine.__dict__["observe_flow_run_suspension"] = _observe_later


@functools.lru_cache(maxsize=4)
def _context_of(cafile: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=cafile)


def _shared_context(*args: Any, cafile: str | None = None, **options: Any) -> ssl.SSLContext:
    # Without a file the caller changes what it gets (no verification): never shared.
    if cafile is None or args or options:
        return ssl.create_default_context(*args, cafile=cafile, **options)
    return _context_of(cafile)


@contextmanager
def _observe_later(
    flow_run_id: UUID, suspension_request: FlowRunSuspensionRequest, polling_interval: float = 10
) -> Iterator[None]:
    over = threading.Event()

    def watch() -> None:
        if over.wait(SUSPENSION_SECONDS):
            return
        with prefect._flow_run_suspension.observe_flow_run_suspension(
            flow_run_id, suspension_request, polling_interval
        ):
            over.wait()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(watch,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=2)


class SettingsOf:
    """Prefect's settings for sets of environment variables, read once for each set."""

    def __init__(self) -> None:
        self._known: dict[frozenset[tuple[str, str]], prefect.context.SettingsContext] = {}

    def prepare(self, changes: Mapping[str, str | None]) -> None:
        """Read the settings that hold with these changes of the environment, if that was not done before."""
        key = self._key(changes)
        if key in self._known:
            return
        before = dict(os.environ)
        apply(changes)
        try:
            self._known[key] = prefect.context.root_settings_context()
        finally:
            os.environ.clear()
            os.environ.update(before)

    def use(self, changes: Mapping[str, str | None]) -> bool:
        """Make them the settings of this process; whether anything about logging changed.

        Raises:
            KeyError: `prepare` was not called for them.
        """
        settings = self._known[self._key(changes)]
        before = prefect.context.get_settings_context().settings.logging
        prefect.context.GLOBAL_SETTINGS_CONTEXT = settings
        return settings.settings.logging != before

    @staticmethod
    def _key(changes: Mapping[str, str | None]) -> frozenset[tuple[str, str]]:
        # Variables of the run itself (`PREFECT__FLOW_RUN_ID`) are no settings.
        environment = {**os.environ, **changes}
        return frozenset(
            (name, value)
            for name, value in environment.items()
            if value is not None and name.startswith("PREFECT_") and not name.startswith("PREFECT__")
        )


def apply(changes: Mapping[str, str | None]) -> None:
    """Set environment variables; None removes one."""
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
