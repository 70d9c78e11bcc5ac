"""TLS of the listener (PS3.15 annex B)."""

import ssl
from pathlib import Path


class TlsConfigurationError(Exception):
    """The certificate files cannot be used; says which and why."""


def server_context(certificate: Path, key: Path | None, client_ca: Path | None) -> ssl.SSLContext:
    """A server's context of at least TLS 1.2.

    Args:
        certificate: PEM, with the chain.
        key: PEM; where it is None it must be in the certificate's file.
        client_ca: PEM of the authority that clients' certificates must come from; None asks for no certificate.

    Raises:
        TlsConfigurationError: a file is missing or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        files = certificate if key is None else f"{certificate} with {key}"
        raise TlsConfigurationError(f"cannot use the certificate {files}: {_reason(error)}") from error
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ValueError) as error:
            raise TlsConfigurationError(f"cannot use the client authority {client_ca}: {_reason(error)}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
