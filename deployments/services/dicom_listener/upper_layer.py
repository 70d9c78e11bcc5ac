"""pynetdicom's upper layer without its polling, and with an end to every wait on a peer.

It replaces, in release 3.0.4 of pynetdicom (which pyproject.toml pins):

- `time.sleep(0.001)` loops: the threads wait in `poll` and are woken when there is something to send;
- two queues and three copies for every PDU of a data set: P-DATA is parsed in place and handed to the message provider;
- reads without time-out, which leave the socket ESTABLISHED and the association counted for ever when a peer dies in
  the middle of a PDU (pynetdicom's issue 979), and sockets left open when their shutdown fails;
- the wait for an A-ASSOCIATE-RQ that goes on after the peer has hung up (TCP health checks; issue 669).
"""

import logging
import os
import queue
import select
import socket
import ssl
import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE, StateMachine
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

if TYPE_CHECKING:
    from deployments.services.dicom_listener.association import ReceivingAssociation

log = logging.getLogger("quintet.listener")

_IDLE = "Sta1"
_ESTABLISHED = "Sta6"
_P_DATA_TF = 4
_TRANSPORT_CLOSED, _INVALID_PDU = "Evt17", "Evt19"
# Timers are looked at this often while nothing comes.
_POLL_MS = 100
# No A-ASSOCIATE-RQ is near this, with 128 contexts of 50 syntaxes and all kinds of negotiation.
_LONGEST_ASSOCIATE = 1024 * 1024


class Wire(AssociationSocket):
    """A connection: polled instead of slept on, and always closed."""

    def __init__(self, assoc: "ReceivingAssociation", client_socket: socket.socket, wake: int) -> None:
        super().__init__(assoc, client_socket=client_socket)
        self._wake = wake
        self._ahead = b""
        self._poll = select.poll()
        self._number = client_socket.fileno()
        self._poll.register(self._number, select.POLLIN)
        self._poll.register(wake, select.POLLIN)

    @property
    def ready(self) -> bool:
        """Whether the peer sent something; waits for it, but not longer than until there is something else to do."""
        if self.socket is None or not self._is_connected:
            time.sleep(0.001)
            return False
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True
        events = dict(self._poll.poll(_POLL_MS if self.event_queue.empty() else 0))
        if self._wake in events:
            with suppress(BlockingIOError):
                os.read(self._wake, 4096)
        return self._number in events

    def push_back(self, data: bytes) -> None:
        """Let the next `recv` give these bytes again."""
        self._ahead = data

    def recv(self, nr_bytes: int) -> bytearray:
        """Read so many bytes; fewer only when the peer has hung up.

        Raises:
            OSError: the connection is broken, or the peer stalled.
        """
        ahead, self._ahead = self._ahead[:nr_bytes], self._ahead[nr_bytes:]
        data = bytearray(nr_bytes)
        data[: len(ahead)] = ahead
        read = self.recv_into(memoryview(data)[len(ahead) :])
        return data[: len(ahead) + read]

    def recv_into(self, view: memoryview) -> int:
        """Fill a buffer; gives how much of it was filled before the peer hung up.

        Raises:
            OSError: the connection is broken, or the peer stalled.
        """
        read = 0
        while read < len(view) and self.socket is not None:
            count = self.socket.recv_into(view[read:])
            if not count:
                break
            read += count
        return read

    def hang_up(self) -> None:
        """Break the connection from another thread; the number stays taken until the owner closes it."""
        connection = self.socket
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _shutdown_socket(self) -> None:
        connection = self.socket
        if connection is not None:
            self.hang_up()
            connection.close()


class _States(StateMachine):
    def do_action(self, event: str) -> None:
        """Go to the next state."""
        before = self.current_state
        if before == _IDLE and (event, before) not in TRANSITION_TABLE:
            # A second thread, or a second system call, noticed the end of the connection too.
            return
        super().do_action(event)
        if self.current_state == _IDLE and self.dul.assoc.requestor.primitive is None:
            # Nothing will come any more for who waits for an A-ASSOCIATE-RQ.
            nothing: Any = None
            self.dul.to_user_queue.put(nothing)


class _Announcing(queue.Queue[Any]):
    """A queue that sets an event when something is put into it."""

    def __init__(self, announced: threading.Event) -> None:
        super().__init__()
        self._announced = announced

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put and announce."""
        super().put(item, block, timeout)
        self._announced.set()


class UpperLayer(DULServiceProvider):
    """The upper layer service provider of one association."""

    def __init__(self, assoc: "ReceivingAssociation", *, longest_pdu: int) -> None:
        super().__init__(assoc)
        self.daemon = True
        self._association = assoc
        self.state_machine = _States(self)
        self.to_user_queue = _Announcing(assoc.attention)
        self._run_loop_delay = 0
        self._longest_pdu = longest_pdu
        self._buffer = memoryview(bytearray(longest_pdu))
        self._lock = threading.Lock()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._open = True
        self.last_data = time.monotonic()

    def wire(self, client_socket: socket.socket) -> Wire:
        """The connection that this layer is woken through."""
        return Wire(self._association, client_socket, self._wake_read)

    def send_pdu(self, primitive: Any) -> None:
        """Send, at once."""
        super().send_pdu(primitive)
        self.wake()

    def wake(self) -> None:
        """End the wait for the peer."""
        with self._lock:
            if self._open:
                with suppress(BlockingIOError):
                    os.write(self._wake_write, b"\0")

    def stop_dul(self) -> bool:
        """End the thread if the connection is over; gives whether it was."""
        if self.state_machine.current_state != _IDLE:
            return False
        self.kill_dul()
        self.wake()
        self.join()
        return True

    def release_descriptors(self) -> None:
        """Give back what an ended, or never started, layer holds."""
        with self._lock:
            if self._open:
                self._open = False
                os.close(self._wake_read)
                os.close(self._wake_write)

    def run_reactor(self) -> None:
        """Run until the connection is over."""
        try:
            super().run_reactor()
        finally:
            self._association.attention.set()

    def _process_recv_primitive(self) -> bool:
        waiting = self.to_provider_queue.queue
        if waiting and isinstance(waiting[0], P_DATA) and self.state_machine.current_state != _ESTABLISHED:
            # The peer left while its request was made durable; there is nobody to answer.
            self.to_provider_queue.get_nowait()
            return False
        return super()._process_recv_primitive()

    def _read_pdu_data(self) -> None:
        wire = self.socket
        if not isinstance(wire, Wire):
            raise TypeError("the upper layer reads from a wire of its own")
        self._read_pdu(wire)
        # A data set is read to its end here; going round the loop for every PDU costs a millisecond an instance.
        while self._association.dimse.in_message and self.event_queue.empty() and wire.ready:
            self._read_pdu(wire)

    def _read_pdu(self, wire: Wire) -> None:
        self.last_data = time.monotonic()
        try:
            header = bytes(wire.recv(6))
        except OSError:
            self.event_queue.put(_TRANSPORT_CLOSED)
            return
        if len(header) < 6:
            self.event_queue.put(_TRANSPORT_CLOSED)
            return
        kind, length = struct.unpack(">BxI", header)
        limit = self._longest_pdu if kind == _P_DATA_TF else _LONGEST_ASSOCIATE
        if length > limit:
            log.warning("aborting an association: a PDU of %d bytes, the limit is %d", length, limit)
            self.event_queue.put(_INVALID_PDU)
        elif kind == _P_DATA_TF and self.state_machine.current_state == _ESTABLISHED:
            self._read_data(wire, self._buffer[:length])
        else:
            wire.push_back(header)
            super()._read_pdu_data()

    def _read_data(self, wire: Wire, body: memoryview) -> None:
        try:
            complete = wire.recv_into(body) == len(body)
        except OSError:
            complete = False
        if not complete:
            self.event_queue.put(_TRANSPORT_CLOSED)
            return
        try:
            self._association.dimse.receive_pdu(body)
        except Exception as error:  # noqa: BLE001 - a peer's bytes may raise anything; they end its association only
            log.warning("aborting an association: %s", error)
            self.event_queue.put(_INVALID_PDU)
        self.last_data = time.monotonic()
