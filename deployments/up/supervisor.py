"""Keeps children alive and ends them in order. One per home: a second one is told about the first."""

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from deployments.errors import ExpectedError
from deployments.processes import ProcessIdentity
from deployments.up.child import Child, ChildSpec

LOOK_SECONDS = 0.2
# Time that children of a killed supervisor get before SIGKILL.
LEFTOVER_SECONDS = 10.0
# Time that a child gets when nobody wants to wait: a worker ends its runs in it.
HURRY_SECONDS = 10.0


class AlreadyRunningError(ExpectedError):
    """Another supervisor runs for this home."""


class HomeError(ExpectedError):
    """The home cannot be used."""


class Supervisor:
    """The children of one home.

    Args:
        home: `QUINTET_HOME`; logs go below it, and the list of children, outside Prefect's own folder.
        on_event: told in words what happens to children.

    Raises:
        AlreadyRunningError: another one runs for this home.
        HomeError: the home cannot be written.
    """

    def __init__(self, home: Path, on_event: Callable[[str], None]) -> None:
        self.logs = home / "logs"
        self._run = home / "run"
        self._on_event = on_event
        try:
            for folder in (self.logs, self._run):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = self._take_lock()
        except OSError as error:
            raise HomeError(
                f"the home {home} cannot be used: {error.strerror}. Make it writable, or set QUINTET_HOME to another."
            ) from error
        self._end_leftovers()
        self._forker = ThreadPoolExecutor(1, thread_name_prefix="forker")
        self._children: list[Child] = []
        self._changing = threading.Lock()
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look_after_all, name="supervisor", daemon=True)
        self._looking.start()

    @property
    def children(self) -> list[Child]:
        """All children, in the order they were started."""
        return list(self._children)

    def start(self, spec: ChildSpec) -> Child:
        """Start a child and keep it alive from now on."""
        child = Child(spec, self.logs, self._forker, self._on_event)
        with self._changing:
            child.start()
            self._children.append(child)
            self._write_list()
        return child

    def stop(self, hurry: threading.Event) -> None:
        """End all children, stage by stage from the highest.

        Args:
            hurry: when set, nobody is waited for longer than it takes to end what one has started: a worker that is
                killed at once would leave its runs to themselves.
        """
        self._over.set()
        self._looking.join()
        for stage in sorted({child.spec.stage for child in self._children}, reverse=True):
            ending = [child for child in self._children if child.spec.stage == stage]
            for child in ending:
                child.stop()
            began = time.monotonic()
            for child in ending:
                self._await(child, began, hurry)
        self._forker.shutdown()
        (self._run / "children.json").unlink(missing_ok=True)
        os.close(self._lock)

    @staticmethod
    def _await(child: Child, began: float, hurry: threading.Event) -> None:
        """Wait for the end of a child that was asked to; past its time it is ended without asking."""
        deadline, hurried = began + child.spec.stop_seconds, False
        while not child.wait(0.05):
            if hurry.is_set() and not hurried:
                # A worker takes the second request as one not to wait for its runs.
                hurried, deadline = True, min(deadline, time.monotonic() + HURRY_SECONDS)
                child.stop()
            if time.monotonic() > deadline:
                child.kill()
                child.wait(5)
                return

    def _look_after_all(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            with self._changing:
                before = [child.pid for child in self._children]
                for child in self._children:
                    child.look_after()
                if before != [child.pid for child in self._children]:
                    self._write_list()

    def _take_lock(self) -> int:
        lock = os.open(self._run / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 20).decode() or "unknown"
            os.close(lock)
            raise AlreadyRunningError(
                f"quintet is already up for {self._run.parent} (process {holder}). Stop that one, or set QUINTET_HOME."
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        return lock

    def _write_list(self) -> None:
        identities = [asdict(child.identity) for child in self._children if child.identity is not None]
        temporary = self._run / ".children.json"
        temporary.write_text(json.dumps(identities))
        temporary.replace(self._run / "children.json")

    def _end_leftovers(self) -> None:
        """End what a killed supervisor left behind: it may hold the ports."""
        try:
            listed = json.loads((self._run / "children.json").read_text())
        except FileNotFoundError:
            return
        left = [identity for identity in (ProcessIdentity(**each) for each in listed) if identity.alive()]
        if left:
            self._on_event(f"ending {len(left)} process(es) that an earlier `quintet up` left behind")
        for number, seconds in ((signal.SIGTERM, LEFTOVER_SECONDS), (signal.SIGKILL, 1.0)):
            left = [identity for identity in left if identity.alive()]
            for identity in left:
                with suppress(ProcessLookupError):
                    os.kill(identity.pid, number)
            deadline = time.monotonic() + seconds
            while any(identity.alive() for identity in left) and time.monotonic() < deadline:
                time.sleep(0.05)
