"""C-STORE peers: archives, viewers and routers that speak DIMSE.

What can come of sending an instance, as errors of `blocks.instance_store`::

    connection refused, timed out, TLS failed      UnreachableError       later; counts against the peer
    A-ASSOCIATE-RJ                                 RejectedError          later; counts against the peer
    0000                                           stored
    B000, B006, B007, other warnings               stored, with a note
    A7xx, statuses nobody knows                    BusyError              later
    no presentation context, even with fallback    ContextRefusedError    never
    pixel data that cannot be decompressed         UndecodableError       never
    A9xx, Cxxx, 0117, 0122, 0212, ...              RefusedError           never
    0111                                           DuplicateError         only if the content is the same
    no response, abort or loss after sending       UnknownOutcomeError    look first, then perhaps again
"""

import ssl
from tempfile import NamedTemporaryFile
from typing import Literal

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, SecretStr

from blocks.dimse_association import Peer
from blocks.dimse_client import DimseClient

__all__ = ["DimseClient", "DimsePeer"]


class DimsePeer(Block):
    """A DICOM archive, viewer or router that instances are sent to with C-STORE.

    Save one when a destination needs TLS, then name it in the rules folder as `block: dimse-peer/<name>`.

    Example:
        ```python
        from blocks.dimse import DimsePeer

        DimsePeer(host="pacs.example.org", port=11112, called_ae="PACS").save("BLOCK_NAME")
        peer = DimsePeer.load("BLOCK_NAME")
        peer.get_client().echo()
        ```
    """

    _block_type_name = "DIMSE Peer"
    _block_type_slug = "dimse-peer"
    _documentation_url = HttpUrl("https://github.com/quintet/quintet/tree/main/docs")
    _description = "A DICOM archive, viewer or router that instances are sent to with C-STORE."

    host: str = Field(description="Name or address of the peer.")
    port: int = Field(ge=1, le=65535, description="Port of the peer.")
    called_ae: str = Field("ANY-SCP", min_length=1, max_length=16, description="AE title of the peer.")
    calling_ae: str = Field("QUINTET", min_length=1, max_length=16, description="Our AE title.")
    transfer_syntaxes: Literal["as_is", "fallback"] = Field(
        "fallback",
        description="as_is: an instance is sent in its own transfer syntax or not at all. fallback: it is decompressed "
        "where the peer does not take its own.",
    )
    timeout_seconds: float = Field(30, gt=0, description="Longest wait for a connection and for each response.")
    tls: bool = Field(False, description="Use TLS.")
    tls_ca: str | None = Field(
        None, description="PEM of the authority of the peer's certificate; the system's if empty."
    )
    tls_certificate: str | None = Field(None, description="PEM of our certificate, where the peer wants one.")
    tls_key: SecretStr | None = Field(None, description="PEM of the private key of our certificate.")

    def get_client(self) -> DimseClient:
        """A client for this peer. It connects when it is used.

        Raises:
            ValueError: certificate and key are not given together, or are no PEM.
        """
        peer = Peer(
            host=self.host,
            port=self.port,
            called_ae=self.called_ae,
            calling_ae=self.calling_ae,
            timeout_seconds=self.timeout_seconds,
            tls=self._tls_context() if self.tls else None,
        )
        return DimseClient(peer, self.transfer_syntaxes)

    def _tls_context(self) -> ssl.SSLContext:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key must be given together")
        try:
            context = ssl.create_default_context(cadata=self.tls_ca)
            # PS3.15 B.9 (BCP 195): nothing below 1.2.
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.tls_certificate is not None and self.tls_key is not None:
                # OpenSSL loads a key from a file only. Readable by nobody else, gone after this block.
                with NamedTemporaryFile("w", suffix=".pem") as pem:
                    pem.write(f"{self.tls_key.get_secret_value()}\n{self.tls_certificate}\n")
                    pem.flush()
                    context.load_cert_chain(pem.name)
        except ssl.SSLError as error:
            raise ValueError(f"the TLS settings of this peer cannot be used: {error.reason}") from error
        return context
