"""One association: who may have it, what is stored through it, and how it ends."""

import logging
import threading
import time
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, cast

from pynetdicom import evt
from pynetdicom.acse import ACSE
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE, P_DATA

from deployments.services.dicom_listener.command import Command, encode_store_response
from deployments.services.dicom_listener.contexts import VERIFICATION, supported_contexts
from deployments.services.dicom_listener.messages import (
    CANNOT_UNDERSTAND,
    DATA_SET_DOES_NOT_MATCH,
    OUT_OF_RESOURCES,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    MessageProvider,
    ProtocolError,
    StoreRequest,
)
from deployments.services.dicom_listener.upper_layer import UpperLayer, Wire
from tasks.dicom.core.arrivals import Arrival, Batch, Origin
from tasks.dicom.core.file_meta import encode_file_meta
from tasks.dicom.core.identity import clean_text, read_identity
from tasks.dicom.core.receiving import Committer
from tasks.dicom.core.spool import ReceiveError, Spool
from tasks.dicom.core.tables import SourceType

if TYPE_CHECKING:
    from deployments.services.dicom_listener.gauge import Gauge

log = logging.getLogger("quintet.listener")

# Time-outs are looked at this often while nothing happens.
_LOOK_SECONDS = 0.5


class Refusal(Enum):
    """Why an association is rejected: result, source and reason of A-ASSOCIATE-RJ (PS3.8 section 9.3.4)."""

    NETWORK = (1, 1, 1)
    CALLING_AE = (1, 1, 3)
    CALLED_AE = (1, 1, 7)
    SHUTTING_DOWN = (2, 3, 1)
    LIMIT = (2, 3, 2)


@dataclass
class Reception:
    """What all associations of a listener share."""

    spool: Spool
    committer: Committer
    gauge: "Gauge"
    ae_title: str
    require_called_ae: bool
    calling_aes: frozenset[str]
    networks: tuple[IPv4Network | IPv6Network, ...]
    maximum_associations: int
    maximum_pdu_size: int
    dimse_timeout: float
    network_timeout: float
    draining: threading.Event = field(default_factory=threading.Event)
    admitted: "set[ReceivingAssociation]" = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def admit(self, association: "ReceivingAssociation", request: A_ASSOCIATE) -> Refusal | None:
        """Let an association in, or say why not."""
        if self.draining.is_set():
            return Refusal.SHUTTING_DOWN
        if self.networks and not self._allowed(association.peer):
            return Refusal.NETWORK
        if self.calling_aes and request.calling_ae_title.strip() not in self.calling_aes:
            return Refusal.CALLING_AE
        if self.require_called_ae and request.called_ae_title.strip() != self.ae_title:
            return Refusal.CALLED_AE
        if not self.gauge.accepts():
            return Refusal.LIMIT
        with self.lock:
            if len(self.admitted) >= self.maximum_associations:
                return Refusal.LIMIT
            self.admitted.add(association)
        return None

    def _allowed(self, peer: str) -> bool:
        address = ip_address(peer.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self.networks)


class _Admission(ACSE):
    def _negotiate_as_acceptor(self) -> None:
        association = cast("ReceivingAssociation", self.assoc)
        request = cast(A_ASSOCIATE, self.requestor.primitive)
        refusal = association.reception.admit(association, request)
        if refusal is not None:
            log.warning("rejected an association: %s", refusal.name)
            self.send_reject(*refusal.value)
            association.kill()
            return
        association.opened(request)
        self.acceptor.supported_contexts = supported_contexts(request.presentation_context_definition_list)
        super()._negotiate_as_acceptor()


class ReceivingAssociation(Association):
    """An acceptor's association whose C-STORE requests go through the spool and the committer."""

    dimse: MessageProvider
    dul: UpperLayer

    def __init__(self, ae: Any, reception: Reception, peer: str) -> None:
        super().__init__(ae, "acceptor")
        self.reception = reception
        self.peer = peer
        #: Set when there is something to do: a message, a release, an abort, the end of the connection.
        self.attention = threading.Event()
        self.acse = _Admission(self)
        self.dimse = MessageProvider(self)
        self.dul = UpperLayer(self, longest_pdu=reception.maximum_pdu_size)
        # Again, since they set timers of the upper layer.
        self.acse_timeout = ae.acse_timeout
        self.network_timeout = ae.network_timeout
        self._batch: Batch | None = None
        self._batch_lock = threading.Lock()
        self._stored_at: float | None = None

    def _bind_defaults(self) -> None:
        # The default notification handlers describe every PDU for a log that nobody reads.
        for event in evt._INTERVENTION_EVENTS:
            self.bind(event, evt.get_default_handler(event))

    def opened(self, request: A_ASSOCIATE) -> None:
        """Remember who asked."""
        self._batch = Batch(
            Origin(
                source_type=SourceType.DIMSE_LISTENER,
                source_id=self.reception.ae_title,
                calling_ae=request.calling_ae_title.strip(),
                called_ae=request.called_ae_title.strip(),
                source_ip=self.peer,
            )
        )

    def end_if_quiet(self, seconds: float) -> None:
        """Make what was received READY if nothing came for a while; what comes later gets a batch of its own."""
        with self._batch_lock:
            quiet = self._stored_at is not None and time.monotonic() - self._stored_at >= seconds
            if quiet and self._batch is not None and not self.dimse.in_message and self.dimse.msg_queue.empty():
                self._stored_at = None
                self.reception.committer.end(self._batch, "quiet")

    def hang_up(self) -> None:
        """Break the connection, from another thread."""
        if isinstance(self.dul.socket, Wire):
            self.dul.socket.hang_up()

    def run_reactor(self) -> None:
        """Run from the request to the end of the connection."""
        try:
            super().run_reactor()
        except Exception:
            log.exception("an association failed")
        finally:
            self._finish()

    def _finish(self) -> None:
        if self.dul.ident is not None:
            self.dul.join(self.reception.network_timeout)
        if isinstance(self.dul.socket, Wire):
            self.dul.socket._shutdown_socket()
        self.dul.release_descriptors()
        self.dimse.discard()
        if self._batch is not None:
            self.reception.committer.end(self._batch, "released" if self.is_released else "aborted")
        with self.reception.lock:
            self.reception.admitted.discard(self)

    def _run_reactor(self) -> None:
        while not self._kill:
            self.attention.wait(_LOOK_SECONDS)
            self.attention.clear()
            while not self.dimse.msg_queue.empty():
                context_id, message = self.dimse.msg_queue.get_nowait()
                # The state machine puts a nothing there when the connection ends.
                if message is not None:
                    self._serve_request(message, cast(int, context_id))
            if self._ends():
                return

    def _ends(self) -> bool:
        """Whether the association is over, or must be."""
        if self.acse.is_release_requested():
            self.acse.send_release(is_response=True)
            self.is_released, self.is_established = True, False
            self.kill()
            return True
        if self.acse.is_aborted():
            self.dul.receive_pdu(wait=False)
            self.is_aborted, self.is_established = True, False
            self.kill()
            return True
        if not self.dul.is_alive():
            self.kill()
            return True
        silence = time.monotonic() - self.dul.last_data
        in_message = self.dimse.in_message
        stalled = silence > (self.reception.dimse_timeout if in_message else self.reception.network_timeout)
        if stalled or (self.reception.draining.is_set() and not in_message):
            log.info("aborting an association: %s", "the peer is silent" if stalled else "shutting down")
            self._abort_blocking(block=True)
            return True
        return False

    def begin_store(self, command: Command, context_id: int) -> StoreRequest:
        """Decide about a C-STORE request when its command has come.

        Raises:
            ProtocolError: there is no such presentation context.
        """
        context = self._accepted_cx.get(context_id)
        if context is None:
            raise ProtocolError("a request in a presentation context that was not accepted")
        request = StoreRequest(command, context_id, str(context.transfer_syntax[0]))
        sop_class, sop_instance = command.sop_class_uid, command.sop_instance_uid
        if command.message_id is None:
            request.refuse(CANNOT_UNDERSTAND, "the request has no message id")
        elif sop_class is None or sop_instance is None:
            request.refuse(CANNOT_UNDERSTAND, "a UID of the request is missing or malformed")
        elif context.abstract_syntax == VERIFICATION:
            request.refuse(SOP_CLASS_NOT_SUPPORTED, "the presentation context is not for storage")
        elif sop_class != context.abstract_syntax:
            request.refuse(DATA_SET_DOES_NOT_MATCH, "the SOP class is not the presentation context's")
        elif not self.reception.gauge.accepts():
            request.refuse(OUT_OF_RESOURCES, "the disk or the backlog is full")
        else:
            calling_ae = self._batch.origin.calling_ae if self._batch else None
            self._open_part(request, sop_class, sop_instance, clean_text(calling_ae, 16))
        return request

    def _open_part(self, request: StoreRequest, sop_class: str, sop_instance: str, source_ae: str | None) -> None:
        meta = encode_file_meta(
            sop_class_uid=sop_class,
            sop_instance_uid=sop_instance,
            transfer_syntax_uid=request.transfer_syntax_uid,
            source_ae=source_ae,
        )
        try:
            request.part = self.reception.spool.create()
            request.part.write(meta)
        except ReceiveError as error:
            log.error("cannot receive: %s", error)
            request.refuse(OUT_OF_RESOURCES, str(error))

    def _serve_request(self, msg: Any, context_id: int) -> None:
        if isinstance(msg, StoreRequest):
            self._store(msg)
            self._answer(msg)
        else:
            super()._serve_request(msg, context_id)

    def _store(self, request: StoreRequest) -> None:
        """Make a request durable, or set its status to why not."""
        part, batch = request.part, self._batch
        if part is None or batch is None:
            return
        try:
            identity = read_identity(part.path, offset=part.offset, transfer_syntax_uid=request.transfer_syntax_uid)
            stored = self.reception.committer.commit(
                Arrival(
                    batch=batch,
                    part=part,
                    identity=identity.with_uids(request.command.sop_class_uid, request.command.sop_instance_uid),
                )
            )
        except ReceiveError as error:
            log.error("cannot receive: %s", error)
            request.refuse(OUT_OF_RESOURCES, str(error))
            return
        self.reception.gauge.arrived()
        with self._batch_lock:
            self._stored_at = time.monotonic()
        log.debug("stored %s", stored.receipt_id)

    def _answer(self, request: StoreRequest) -> None:
        if request.status != SUCCESS:
            log.warning("answered a C-STORE with %04X: %s", request.status, request.comment)
        primitive = P_DATA()
        response = encode_store_response(request.command, request.status, request.comment)
        primitive.presentation_data_value_list.append((request.context_id, b"\x03" + response))
        self.dul.send_pdu(primitive)
