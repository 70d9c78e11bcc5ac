"""One supervised process: its command, its log file, its end."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from deployments.processes import ProcessIdentity

FIRST_DELAY_SECONDS, GREATEST_DELAY_SECONDS = 0.5, 30.0
# A child that lived this long is not in a crash loop.
HEALTHY_SECONDS = 60.0
# A log is turned over when it is this large; so many old ones are kept.
LOG_BYTES, OLD_LOGS = 10 * 1024**2, 3

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class ChildSpec:
    """What to run.

    Attributes:
        name: what people and log files call it.
        module: run as `python -m module`.
        arguments: of the module.
        environment: variables beside those of the supervisor.
        stop_seconds: time from SIGTERM to SIGKILL.
        stage: higher stages end before lower ones.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: float = 15.0
    stage: int = 0


class Child:
    """A process that is started again when it ends by itself.

    Args:
        spec: what to run.
        logs: folder of log files.
        forker: the one thread that starts processes: Linux ends them with the thread that started them.
        on_event: told in words what happens to it.
    """

    def __init__(
        self, spec: ChildSpec, logs: Path, forker: ThreadPoolExecutor, on_event: Callable[[str], None]
    ) -> None:
        self.spec = spec
        self.log = logs / f"{spec.name}.log"
        self.restarts = 0
        self._forker = forker
        self._on_event = on_event
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._failures = 0
        self._next_start = 0.0
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """Its exit code, once it ended and was not started again."""
        return None if self._process is None else self._process.poll()

    @property
    def identity(self) -> ProcessIdentity | None:
        """Which process it is."""
        return None if self.pid is None else ProcessIdentity.of(self.pid)

    def start(self) -> None:
        """Start it now."""
        self._started = time.monotonic()
        self._process = self._forker.submit(self._spawn).result()

    def look_after(self) -> None:
        """Start it again if it ended, after a delay that grows while it keeps ending; turn its log over."""
        if self._stopping or self._process is None:
            return
        now = time.monotonic()
        self._turn_log_over()
        if self._process.poll() is None:
            return
        if not self._next_start:
            self._failures = 1 if now - self._started > HEALTHY_SECONDS else self._failures + 1
            delay = min(FIRST_DELAY_SECONDS * 2 ** (self._failures - 1), GREATEST_DELAY_SECONDS)
            self._next_start = now + delay
            code = self._process.returncode
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            self._on_event(f"{self.spec.name} {how}; starting it again in {delay:g} s (log: {self.log})")
        elif now >= self._next_start:
            self._next_start = 0.0
            self.restarts += 1
            self.start()

    def stop(self) -> None:
        """Ask it to end (SIGTERM) and do not start it again."""
        self._stopping = True
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it without asking."""
        self._stopping = True
        self._send(signal.SIGKILL)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it came in time."""
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def tail(self) -> str:
        """The last of what it said, for error messages."""
        return self.log.read_text(errors="replace")[-2000:].strip() or "it said nothing"

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _spawn(self) -> subprocess.Popen[bytes]:
        log: IO[bytes]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", self.spec.module, *self.spec.arguments],
                env={**os.environ, **self.spec.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in the terminal is for the supervisor, which ends its children in order.
                start_new_session=True,
                preexec_fn=_prepare_child,
            )

    def _turn_log_over(self) -> None:
        """Copy and empty a large log: the child keeps writing to the same file, without a pipe that could break."""
        if not self.log.exists() or self.log.stat().st_size < LOG_BYTES:
            return
        for number in range(OLD_LOGS - 1, 0, -1):
            older = self.log.with_suffix(f".log.{number}")
            if older.exists():
                older.replace(self.log.with_suffix(f".log.{number + 1}"))
        shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
        os.truncate(self.log, 0)


def _prepare_child() -> None:
    # A shell that starts us in the background has us ignore SIGINT, and children would inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
