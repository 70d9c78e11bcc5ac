"""Addresses: of the exchange's server, and of traders."""

import hashlib
import re
from typing import Literal

import httpx

_TRADER = re.compile(r"0x[0-9a-f]{40}")
# Hexadecimal digits that tell addresses of the network apart where their limits are kept.
_FINGERPRINT = 16


def check_url(address: str, kind: Literal["http", "ws"]) -> str:
    """The address of a server, without a slash at its end.

    Raises:
        ValueError: it is of another kind, or holds more than an address.
    """
    problem = ""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        problem = str(error)
    if problem:
        raise ValueError(f"the address cannot be read: {problem}")
    if url.scheme not in (kind, f"{kind}s") or not url.host:
        raise ValueError(f"the address must begin with {kind}s:// and a host")
    if url.userinfo or url.query or url.fragment:
        raise ValueError("the address must hold no user, no query and no fragment")
    return address.rstrip("/")


def trader(address: str) -> str | None:
    """A trader's address in lower case; None where it can be none."""
    lowered = address.lower()
    return lowered if _TRADER.fullmatch(lowered) else None


def shown(address: str) -> str:
    """A trader's address as logs and errors show it: `0x1234…abcd`."""
    return address if len(address) <= 12 else f"{address[:6]}…{address[-4:]}"


def limits_key(url: str, egress: str) -> str:
    """Under what the limits of one address at one exchange are kept, the same for its `/info` and its WebSocket.

    Args:
        url: of either.
        egress: what this address of ours is called.
    """
    host = httpx.URL(url)
    port = host.port or {"http": 80, "ws": 80}.get(host.scheme, 443)
    return "exchange-" + hashlib.sha256(f"{host.host}:{port} {egress}".encode()).hexdigest()[:_FINGERPRINT]
