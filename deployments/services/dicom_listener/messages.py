"""C-STORE requests on their way from the wire into the spool."""

import logging
import struct
from typing import TYPE_CHECKING, Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import P_DATA

from deployments.services.dicom_listener.command import C_CANCEL_RQ, C_ECHO_RQ, C_STORE_RQ, Command
from tasks.dicom.core.spool import Part, ReceiveError

if TYPE_CHECKING:
    from deployments.services.dicom_listener.association import ReceivingAssociation

log = logging.getLogger("quintet.listener")

SUCCESS = 0x0000
SOP_CLASS_NOT_SUPPORTED = 0x0122
OUT_OF_RESOURCES = 0xA700
DATA_SET_DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

# No command set of ours has half of this.
_LONGEST_COMMAND = 16 * 1024
# Without asynchronous operations there is one; a peer that goes on regardless is not served from our memory.
_QUEUED_MESSAGES = 8


class ProtocolError(Exception):
    """The peer broke the protocol; the association is aborted."""


class StoreRequest:
    """One C-STORE request. Storing never raises on the way: what went wrong becomes the response's status."""

    # pynetdicom asks this of everything in its queue.
    is_valid_request = True
    msg_type = "C-STORE-RQ"

    def __init__(self, command: Command, context_id: int, transfer_syntax_uid: str) -> None:
        self.command = command
        self.context_id = context_id
        self.transfer_syntax_uid = transfer_syntax_uid
        self.part: Part | None = None
        self.status = SUCCESS
        self.comment = ""

    def refuse(self, status: int, comment: str) -> None:
        """Answer with a failure; the rest of the data set is read and dropped."""
        self.status, self.comment = status, comment
        self.discard()

    def write(self, data: memoryview) -> None:
        """Take a fragment of the data set."""
        if self.part is None:
            return
        try:
            self.part.write_data_set(data)
        except ReceiveError as error:
            log.error("cannot receive: %s", error)
            self.refuse(OUT_OF_RESOURCES, str(error))

    def discard(self) -> None:
        """Leave nothing behind."""
        part, self.part = self.part, None
        if part is not None:
            try:
                part.discard()
            except ReceiveError as error:
                log.error("a file that was not acknowledged is left in the spool: %s", error)


class MessageProvider(DIMSEServiceProvider):
    """pynetdicom's message provider with C-STORE requests streamed. C-ECHO is left to it; nothing else was accepted."""

    def __init__(self, assoc: "ReceivingAssociation") -> None:
        super().__init__(assoc)
        self._association = assoc
        self._command = bytearray()
        self._store: StoreRequest | None = None

    @property
    def in_message(self) -> bool:
        """Whether the rest of a message is still to come."""
        return self._store is not None or bool(self._command)

    def receive_pdu(self, body: memoryview) -> None:
        """Take the body of a P-DATA-TF PDU (PS3.8 section 9.3.5).

        Raises:
            ProtocolError: the lengths do not fit, or the fragments come in the wrong order.
            CommandError: a command set cannot be read.
        """
        position = 0
        while position < len(body):
            if position + 6 > len(body):
                raise ProtocolError("a P-DATA PDU ends within an item")
            length, context_id, control = struct.unpack_from(">IBB", body, position)
            end = position + 4 + length
            if length < 2 or end > len(body):
                raise ProtocolError("an item of a P-DATA PDU has a wrong length")
            self._receive_fragment(context_id, control, body[position + 6 : end])
            position = end

    def discard(self) -> None:
        """Drop what never came to its end."""
        store, self._store = self._store, None
        if store is not None:
            store.discard()
        while not self.msg_queue.empty():
            message: Any = self.msg_queue.get_nowait()[1]
            if isinstance(message, StoreRequest):
                message.discard()

    def _receive_fragment(self, context_id: int, control: int, data: memoryview) -> None:
        is_command, is_last = control & 1, control & 2
        if is_command:
            if self._store is not None:
                raise ProtocolError("a command came before the data set of the last one was complete")
            self._command += data
            if len(self._command) > _LONGEST_COMMAND:
                raise ProtocolError("the command set is too long")
            if is_last:
                raw, self._command = bytes(self._command), bytearray()
                self._receive_command(context_id, raw)
        elif self._store is not None:
            if context_id != self._store.context_id:
                raise ProtocolError("the data set came in another presentation context than its command")
            self._store.write(data)
            if is_last:
                self._complete()
        else:
            raise ProtocolError("a data set came without a command")

    def _receive_command(self, context_id: int, raw: bytes) -> None:
        command = Command.decode(raw)
        if command.field == C_ECHO_RQ and not command.has_data_set:
            self._pass_on(context_id, raw)
            return
        if command.field == C_CANCEL_RQ:
            # There is nothing that could be cancelled; PS3.7 section 9.3.2.3 wants no answer.
            return
        if command.field != C_STORE_RQ:
            raise ProtocolError("a request for a service that was not accepted")
        self._store = self._association.begin_store(command, context_id)
        if not command.has_data_set:
            self._store.refuse(CANNOT_UNDERSTAND, "the request has no data set")
            self._complete()

    def _complete(self) -> None:
        queued: Any = self._store
        if self.msg_queue.qsize() >= _QUEUED_MESSAGES:
            raise ProtocolError("too many requests at once")
        self._store = None
        self.msg_queue.put((queued.context_id, queued))
        self._association.attention.set()

    def _pass_on(self, context_id: int, raw: bytes) -> None:
        primitive = P_DATA()
        primitive.presentation_data_value_list.append((context_id, b"\x03" + raw))
        self.receive_primitive(primitive)
        self._association.attention.set()
