"""Runs the listener until SIGTERM or SIGINT.

On its standard output stands one line of JSON when it is ready: host, port, process id and AE title. The same is in
`dicom/listener.json` for as long as it runs.
"""

import argparse
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Protocol, cast

from sqlalchemy import inspect

from blocks.engine import LedgerError, check_integrity, engine, session
from blocks.settings import settings
from deployments.services.dicom_listener.listener import READY_FILE, Listener, ListenerError
from deployments.services.dicom_listener.tls import TlsConfigurationError
from tasks.dicom.core.tables import DOMAIN, Receipt


class _Dispatching(Protocol):
    def start(self) -> None: ...

    def wake(self) -> None: ...

    def stop(self) -> None: ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the listener; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deployments.services.dicom_listener", description=__doc__)
    parser.add_argument("--no-dispatch", action="store_true", help="start no flow runs; the sweep does")
    options = parser.parse_args(arguments)
    _configure_logging()
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        return _run(stopping, dispatch=not options.no_dispatch)
    except (ListenerError, LedgerError, TlsConfigurationError) as error:
        print(f"listener: {error}", file=sys.stderr)  # noqa: T201 - the console is the interface here
    except OSError as error:
        print(f"listener: the home {settings().root} cannot be used: {error}", file=sys.stderr)  # noqa: T201
    return 1


def _run(stopping: threading.Event, *, dispatch: bool) -> int:
    home = settings().domain_home(DOMAIN)
    check_integrity(DOMAIN)
    if not inspect(engine(DOMAIN)).has_table(str(Receipt.__tablename__)):
        raise ListenerError("the ledger has no tables yet: run `quintet apply` first")
    dispatcher = _dispatcher() if dispatch else None
    on_ready: Callable[[], None] = dispatcher.wake if dispatcher else lambda: None
    listener = Listener(settings().dicom.receive, home, lambda: session(DOMAIN), on_ready=on_ready)
    listener.start()
    try:
        # Ready first: importing what the dispatcher needs takes longer than all the rest.
        print(json.dumps(json.loads((home / READY_FILE).read_text())), flush=True)  # noqa: T201
        if dispatcher:
            dispatcher.start()
        stopping.wait()
    finally:
        listener.stop()
        if dispatcher:
            dispatcher.stop()
    return 0


def _dispatcher() -> _Dispatching:
    from deployments.services.dispatcher import Dispatcher

    return cast(_Dispatching, Dispatcher())


def _configure_logging() -> None:
    plain = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=plain)
    if settings().log_format == "json":
        logging.getLogger().handlers[0].setFormatter(_JsonFormatter())
    # It tells of every PDU, and may name what is in it.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    logging.getLogger("httpx").setLevel(logging.WARNING)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


if __name__ == "__main__":
    sys.exit(main())
