"""Who listens where: found out before anything is started."""

import errno
import socket

import psutil

from deployments.errors import ExpectedError


class PortInUseError(ExpectedError):
    """Something else listens on a port that quintet needs."""


def free_port() -> int:
    """A port of this machine that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def require_free(host: str, port: int, *, purpose: str, setting: str) -> None:
    """Check that the port can be listened on.

    Args:
        host: address to bind.
        port: the port; 0 stands for any and is always free.
        purpose: what it is for, in the error.
        setting: how to choose another one, in the error.

    Raises:
        PortInUseError: it cannot; the text names the port, who has it, and what to do.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUseError(
                f"port {port} on {host}, for {purpose}, cannot be used: {error.strerror}{_holder(port)}. "
                f"{_advice(error.errno, setting)}"
            ) from error


def _advice(number: int | None, setting: str) -> str:
    if number == errno.EADDRINUSE:
        return f"Stop what has it, or choose another port with {setting}."
    if number == errno.EADDRNOTAVAIL:
        return "Listen on an address of this machine."
    return f"Choose another port with {setting}."


def _holder(port: int) -> str:
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return ""
    for connection in connections:
        # Empty or a path for sockets that have no port.
        address = connection.laddr
        if connection.status == psutil.CONN_LISTEN and getattr(address, "port", None) == port and connection.pid:
            return f" (held by {psutil.Process(connection.pid).name()}, process {connection.pid})"
    return ""
