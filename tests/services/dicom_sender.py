"""A C-STORE sender on a bare socket: it can say what a library would never say, and stop wherever it likes."""

import socket
import ssl
import struct
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tasks.dicom.core.header import data_set_offset

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"


class RejectedError(Exception):
    """A-ASSOCIATE-RJ; holds result, source and reason."""

    @property
    def why(self) -> tuple[int, int, int]:
        """Result, source, reason."""
        return tuple(self.args[0])


class AbortedError(Exception):
    """A-ABORT, or the connection is gone."""


@dataclass
class Sender:
    """One association. Contexts are numbered 1, 3, 5, ... in the order given."""

    address: tuple[str, int]
    contexts: list[tuple[str, list[str]]] = field(default_factory=lambda: [(CT, [EXPLICIT])])
    calling: str = "SENDER"
    called: str = "QUINTET"
    pdu: int = 16384
    tls: ssl.SSLContext | None = None
    accepted: dict[int, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.socket = socket.create_connection(self.address, timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is not None:
            self.socket = self.tls.wrap_socket(self.socket, server_hostname="localhost")
        try:
            self.socket.sendall(self._request())
            kind, body = self._receive()
            if kind == 3:
                raise RejectedError(body[1:4])
            self._read_accepted(body)
        except BaseException:
            self.socket.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def store(self, data: bytes, uid: str = "1.2.3", sop_class: str = CT, context: int = 1) -> int:
        """Send an instance; gives the status."""
        self.command(uid=uid, sop_class=sop_class, context=context)
        self.data(data, context=context)
        return self.status()

    def command(
        self,
        uid: str | None = "1.2.3",
        sop_class: str | None = CT,
        context: int = 1,
        data_set: bool = True,
        message_id: bool = True,
    ) -> None:
        """Send a C-STORE-RQ command; None leaves an element out."""
        elements = [
            (0x0002, _even(sop_class)),
            (0x0100, struct.pack("<H", 1)),
            (0x0110, struct.pack("<H", 7) if message_id else None),
            (0x0700, struct.pack("<H", 0)),
            (0x0800, struct.pack("<H", 1 if data_set else 0x0101)),
            (0x1000, _even(uid)),
        ]
        body = b"".join(struct.pack("<HHI", 0, tag, len(raw)) + raw for tag, raw in elements if raw is not None)
        self.fragment(struct.pack("<HHII", 0, 0, 4, len(body)) + body, control=3, context=context)

    def data(self, data: bytes, *, last: bool = True, context: int = 1) -> None:
        """Send a data set, or a piece of it."""
        size = self.pdu - 6
        pieces = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
        for number, piece in enumerate(pieces):
            self.fragment(piece, control=2 if last and number == len(pieces) - 1 else 0, context=context)

    def fragment(self, data: bytes, *, control: int, context: int = 1) -> None:
        """Send one P-DATA-TF PDU with one fragment."""
        self.raw(struct.pack(">BxIIBB", 4, len(data) + 6, len(data) + 2, context, control) + data)

    def raw(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def status(self) -> int:
        """Wait for a response; gives its status."""
        kind, body = self._receive()
        if kind != 4:
            raise AbortedError(kind)
        position, elements = 6, {}
        while position < len(body):
            _, tag, length = struct.unpack_from("<HHI", body, position)
            elements[tag] = body[position + 8 : position + 8 + length]
            position += 8 + length
        assert struct.unpack("<H", elements[0x0120])[0] in (0, 7)
        return int(struct.unpack("<H", elements[0x0900])[0])

    def release(self) -> None:
        """Release and wait for the answer."""
        self.raw(struct.pack(">BxII", 5, 4, 0))
        kind, _ = self._receive()
        assert kind == 6

    def abort(self) -> None:
        """Abort."""
        self.raw(struct.pack(">BxII", 7, 4, 0))

    def _receive(self) -> tuple[int, bytes]:
        try:
            kind, length = struct.unpack(">BxI", self._read(6))
            return kind, self._read(length)
        except ConnectionError as error:
            raise AbortedError("connection lost") from error

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise ConnectionError("closed")
            data += piece
        return data

    def _request(self) -> bytes:
        items = _item(0x10, b"1.2.840.10008.3.1.1.1")
        for number, (abstract, syntaxes) in enumerate(self.contexts):
            inner = _item(0x30, abstract.encode()) + b"".join(_item(0x40, each.encode()) for each in syntaxes)
            items += _item(0x20, bytes([2 * number + 1, 0, 0, 0]) + inner)
        items += _item(0x50, _item(0x51, struct.pack(">I", 16384)) + _item(0x52, b"1.2.3.4"))
        body = struct.pack(">HH16s16s32x", 1, 0, self.called.ljust(16).encode(), self.calling.ljust(16).encode())
        return struct.pack(">BxI", 1, len(body + items)) + body + items

    def _read_accepted(self, body: bytes) -> None:
        position = 68
        while position < len(body):
            kind, length = struct.unpack_from(">BxH", body, position)
            if kind == 0x21 and body[position + 6] == 0:
                syntax = body[position + 12 : position + 4 + length]
                self.accepted[body[position + 4]] = syntax.decode()
            elif kind == 0x50:
                (longest,) = struct.unpack_from(">I", body, position + 8)
                self.pdu = min(longest or self.pdu, 131072)
            position += 4 + length


def data_set_of(path: Path) -> bytes:
    """The bytes that a sender sends of a file."""
    return path.read_bytes()[data_set_offset(path) :]


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def _even(value: str | None) -> bytes | None:
    return None if value is None else value.encode() + b"\0" * (len(value) % 2)
