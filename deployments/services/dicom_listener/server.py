"""The accepting socket: one thread per connection, none of which can hold up the others."""

import errno
import logging
import socket
import ssl
import threading
import time
from typing import Any, cast

from pynetdicom import AE
from pynetdicom.transport import AddressInformation, RequestHandler, ThreadedAssociationServer

from deployments.services.dicom_listener.association import ReceivingAssociation, Reception

log = logging.getLogger("quintet.listener")

# Connections beyond the admitted associations, which wait to be rejected with a reason; more are just closed.
_WAITING_CONNECTIONS = 64


class ReceivingServer(ThreadedAssociationServer):
    """pynetdicom's server with associations of our own."""

    request_queue_size = 128
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, ae: AE, address: tuple[str, int], reception: Reception, ssl_context: ssl.SSLContext | None
    ) -> None:
        """Bind the address.

        Raises:
            OSError: the address cannot be bound.
        """
        self.reception = reception
        self._connections: list[ReceivingAssociation] = []
        self._lock = threading.Lock()
        super().__init__(
            ae, address, reception.ae_title, contexts=[], ssl_context=ssl_context, request_handler=_Connection
        )
        ae._servers.append(self)

    @property
    def connections(self) -> list[ReceivingAssociation]:
        """Associations whose connection is open, admitted or not."""
        with self._lock:
            self._connections = [each for each in self._connections if each.is_alive()]
            return list(self._connections)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection."""
        try:
            connection, address = cast(socket.socket, self.socket).accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                log.critical("no file descriptors left: raise the limit, or lower the number of associations")
                # The connection still waits, so the loop would come back at once.
                time.sleep(0.2)
            raise
        # A response is smaller than a segment: with Nagle's algorithm each would wait for a delayed acknowledgement.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # No read or write waits longer, whatever became of the peer.
        connection.settimeout(min(self.reception.dimse_timeout, self.reception.network_timeout))
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether to look at a connection at all."""
        return len(self.connections) < self.reception.maximum_associations + _WAITING_CONNECTIONS

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands, in the connection's own thread, and start its association."""
        if self.ssl_context is not None:
            try:
                request = self.ssl_context.wrap_socket(request, server_side=True)
            except (OSError, ValueError) as error:
                log.warning("a TLS handshake failed: %s", getattr(error, "reason", None) or type(error).__name__)
                request.close()
                return
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what broke a connection."""
        log.exception("a connection could not be served")

    def add(self, association: ReceivingAssociation) -> None:
        """Count the connection of an association that has started."""
        with self._lock:
            self._connections.append(association)


class _Connection(RequestHandler):
    def handle(self) -> None:
        """Start the association."""
        association = self._create_association()
        association.start()
        cast(ReceivingServer, self.server).add(association)

    def _create_association(self) -> ReceivingAssociation:
        server = cast(ReceivingServer, self.server)
        association = ReceivingAssociation(self.ae, server.reception, str(self.client_address[0]))
        association._server = server
        association.name = f"AcceptorThread@{self.client_address[1]}"
        association.set_socket(association.dul.wire(cast(socket.socket, self.request)))
        acceptor = association.acceptor
        acceptor.maximum_length = self.ae.maximum_pdu_size
        acceptor.ae_title = server.ae_title
        acceptor.address_info = self.local
        acceptor.implementation_class_uid = self.ae.implementation_class_uid
        acceptor.implementation_version_name = self.ae.implementation_version_name
        association.requestor.address_info = AddressInformation.from_tuple(self.client_address)
        return association
