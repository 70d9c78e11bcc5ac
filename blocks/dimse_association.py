"""One association with a peer: opened with deadlines, used raw, and always ended cleanly.

pynetdicom does the protocol. What it leaves to do: TCP_NODELAY (its two writes per message otherwise wait 40 ms for
a delayed acknowledgement), data sets sent from disk in PDU-sized pieces without decoding or queueing them whole, and an
end that does not hang when the peer has stopped reading.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket

from blocks import dimse_race
from blocks.instance_store import RejectedError, StoreError, UnknownOutcomeError, UnreachableError

dimse_race.mend()

# PS3.8 7.1.1.13: context ids are the odd numbers of one byte.
MAXIMUM_CONTEXTS = 128
# DCMTK's greatest; larger gained nothing in measurements.
MAXIMUM_PDU = 131072
# PDUs handed to the sending thread but not yet on the wire: enough to keep it busy, few enough to keep memory flat.
QUEUED_PDUS = 32


class NoContextError(RejectedError):
    """The peer is there, and takes nothing of what was proposed."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is called, by whom, and how long an answer may take."""

    host: str
    port: int
    called_ae: str
    calling_ae: str
    timeout_seconds: float
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return f"{self.called_ae} at {self.host}:{self.port}"


class _Caller(AE):
    """An AE that closes its socket; pynetdicom leaves that of a failed or lost connection to the garbage collector."""

    _raw: socket.socket | None = None

    def _create_socket(self, *arguments: Any) -> AssociationSocket:
        created = super()._create_socket(*arguments)
        self._raw = created.socket
        return created

    def close_socket(self) -> None:
        if self._raw is not None:
            self._raw.close()


def no_delay(event: evt.Event) -> None:
    """Handler of EVT_CONN_OPEN: send small messages at once."""
    connection: Any = event.assoc.dul.socket
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def contexts_for(pairs: Sequence[tuple[str, Sequence[str]]]) -> list[PresentationContext]:
    """Presentation contexts from (abstract syntax, transfer syntaxes) pairs."""
    return [build_context(abstract, list(syntaxes)) for abstract, syntaxes in pairs]


def _refusal(association: Association) -> str:
    primitive = association.acceptor.primitive
    if primitive is None or primitive.result is None:
        return "no reason given"
    kind = "permanently" if primitive.result == 1 else "for now"
    return f"{kind}: {primitive.reason_str}"


@contextmanager
def associate(
    peer: Peer,
    contexts: list[PresentationContext],
    *,
    roles: Sequence[Any] = (),
    handlers: Sequence[tuple[Any, ...]] = (),
) -> Iterator[Association]:
    """An established association, released at the end, or aborted after an error.

    Args:
        peer: whom to call.
        contexts: at most 128 presentation contexts.
        roles: SCP/SCU role selection items (for C-GET).
        handlers: further pynetdicom event handlers.

    Raises:
        UnreachableError: no connection, no TLS, no answer, or aborted during negotiation.
        RejectedError: the peer rejected the association.
        NoContextError: it accepted none of the contexts.
    """
    entity = _Caller(ae_title=peer.calling_ae)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = peer.timeout_seconds
    # The user of the association keeps it busy; this only ends one that was forgotten.
    entity.network_timeout = None
    entity.maximum_pdu_size = MAXIMUM_PDU
    association = entity.associate(
        peer.host,
        peer.port,
        contexts=contexts,
        ae_title=peer.called_ae,
        max_pdu=MAXIMUM_PDU,
        ext_neg=list(roles),
        tls_args=(peer.tls, peer.host) if peer.tls else None,
        evt_handlers=[(evt.EVT_CONN_OPEN, no_delay), *handlers],
    )
    if not association.is_established:
        entity.close_socket()
    if association.is_rejected:
        raise RejectedError(f"{peer} rejected the association {_refusal(association)}")
    if not association.is_established:
        # All contexts refused counts as no association for pynetdicom; it has aborted then.
        if association.rejected_contexts and not association.accepted_contexts:
            raise NoContextError(f"{peer} accepted none of the {len(contexts)} presentation contexts")
        raise UnreachableError(f"{peer} does not answer")
    try:
        yield association
        if association.is_established:
            association.release()
        end(association)
    except BaseException:
        abort(association)
        raise
    finally:
        entity.close_socket()


def abort(association: Association) -> None:
    """End an association at once, also when its peer has stopped reading."""
    if not association.is_established:
        end(association)
        return
    # abort() waits until the sending thread is idle; one that is stuck in a full socket never is.
    watchdog = threading.Timer(1.0, _disconnect, (association,))
    watchdog.start()
    try:
        association.abort()
    finally:
        watchdog.cancel()
    end(association)


def _disconnect(association: Association) -> None:
    connection = association.dul.socket
    if connection is not None and connection.socket is not None:
        # Closed already: then nothing is stuck in it.
        with suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)


def end(association: Association) -> None:
    """Wait until the threads of an ended association are gone, so that nothing of it lives on."""
    if association.is_alive():
        association.join(timeout=5)
    if association.dul.is_alive():
        _disconnect(association)
        association.dul.join(timeout=5)


def send_data_set(
    association: Association,
    context_id: int,
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    path: Path,
    offset: int,
    message_id: int,
    timeout_seconds: float,
) -> C_STORE:
    """C-STORE the bytes of a file as they are, and wait for the response.

    Args:
        association: established, with an accepted context for exactly this transfer syntax.
        context_id: of that context.
        sop_class_uid: Affected SOP Class UID.
        sop_instance_uid: Affected SOP Instance UID.
        path: the file.
        offset: where its data set begins, bytes.
        message_id: 1 to 65535.
        timeout_seconds: longest wait for the peer to take the next bytes, and for its response.

    Returns:
        The response.

    Raises:
        OSError: the file cannot be read; the association has been aborted if something of it was sent.
        UnreachableError: the association had ended before anything was sent.
        UnknownOutcomeError: no valid response came; the association has been aborted.
    """
    request = C_STORE()
    request.MessageID = message_id
    request.Priority = 0
    request.AffectedSOPClassUID = sop_class_uid
    request.AffectedSOPInstanceUID = sop_instance_uid
    request._dataset_path = (path, offset)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    message.context_id = context_id
    with path.open("rb"):
        # Before anything is sent: a missing file costs one instance, not the association.
        pass
    with _reactor_paused(association):
        if not association.is_established:
            raise UnreachableError("the association ended before this instance was sent")
        try:
            limit = min(association.dimse.maximum_pdu_size or MAXIMUM_PDU, MAXIMUM_PDU)
            for piece in message.encode_msg(context_id, limit):
                association.dul.send_pdu(piece)
                _wait_until(
                    association,
                    lambda: association.dul.to_provider_queue.qsize() < QUEUED_PDUS,
                    timeout_seconds,
                    "the peer stopped reading",
                )
            response = _response(association, timeout_seconds)
        except (OSError, StoreError):
            abort(association)
            raise
    if (
        not isinstance(response, C_STORE)
        or not response.is_valid_response
        or response.MessageIDBeingRespondedTo != message_id
    ):
        abort(association)
        raise UnknownOutcomeError("the peer's response is not one to this request")
    return response


@contextmanager
def _reactor_paused(association: Association) -> Iterator[None]:
    # As pynetdicom's own send_* methods do it; see dimse_race.
    association._reactor_checkpoint.clear()
    try:
        while not association._is_paused:
            time.sleep(0.0001)
        yield
    finally:
        association._reactor_checkpoint.set()


def _wait_until(association: Association, done: Callable[[], bool], timeout_seconds: float, otherwise: str) -> None:
    progress = association.dul.to_provider_queue.qsize
    size, deadline = progress(), time.monotonic() + timeout_seconds
    while not done():
        if not association.dul.is_alive():
            raise UnknownOutcomeError("the connection was lost while sending")
        if (now_size := progress()) != size:
            size, deadline = now_size, time.monotonic() + timeout_seconds
        if time.monotonic() > deadline:
            raise UnknownOutcomeError(otherwise)
        time.sleep(0.0005)


def _response(association: Association, timeout_seconds: float) -> Any:
    queue = association.dul.to_provider_queue
    _wait_until(association, lambda: queue.qsize() == 0, timeout_seconds, "the peer stopped reading")
    # (None, None) stands in the queue when the association ends.
    _context_id, response = association.dimse.get_msg(block=True)
    if response is None:
        ended = association.acse.is_aborted() or not association.dul.is_alive()
        raise UnknownOutcomeError(
            "the association ended before a response" if ended else f"no response within {timeout_seconds:g} s"
        )
    return response
