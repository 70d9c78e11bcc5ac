"""A TCP line between senders and a receiver, so slow that a kill hits most messages in the middle."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

_SLICE = 1024
_AT_ONCE = 65536


class SlowLine:
    """Carries connections from `address` to `target` while the `with` block lasts.

    Args:
        target: the receiver's host and port; a receiver that is away costs the sender its connection, nothing more.
        bytes_per_second: of each connection, towards the receiver only.
    """

    def __init__(self, target: tuple[str, int], bytes_per_second: float) -> None:
        self.target = target
        self._pace: float | None = bytes_per_second
        self._over = threading.Event()
        self._entrance = socket.create_server(("127.0.0.1", 0))
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    @property
    def address(self) -> tuple[str, int]:
        """Where senders connect."""
        host, port = self._entrance.getsockname()
        return str(host), int(port)

    def open_up(self) -> None:
        """From now on carry everything as fast as it goes."""
        self._pace = None

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        with self._lock:
            for end in (self._entrance, *self._ends):
                _hang_up(end)
        for thread in list(self._threads):
            thread.join()
        self._entrance.close()

    def _start(self, run: "threading.Thread | object", *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=run, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._entrance.accept()
            except OSError:
                return
            self._start(self._carry, client)

    def _carry(self, client: socket.socket) -> None:
        with client:
            try:
                server = socket.create_connection(self.target, timeout=10)
            except OSError:
                return
            with server:
                server.settimeout(None)
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._ends |= {client, server}
                answers = self._start(self._pump, server, client, False)
                self._pump(client, server, True)
                answers.join()
                with self._lock:
                    self._ends -= {client, server}

    def _pump(self, source: socket.socket, sink: socket.socket, slowly: bool) -> None:
        # One end that is gone ends the line, as it would without us between.
        with suppress(OSError):
            while not self._over.is_set():
                pace = self._pace if slowly else None
                data = source.recv(_AT_ONCE if pace is None else _SLICE)
                if not data:
                    break
                sink.sendall(data)
                if pace is not None:
                    self._over.wait(len(data) / pace)
        for end in (source, sink):
            _hang_up(end)


def _hang_up(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
