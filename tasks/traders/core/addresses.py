"""Addresses of traders: in lower case wherever they are kept, and shortened wherever they are logged."""

import re

_ADDRESS = re.compile(r"0x[0-9a-f]{40}")


def normal(address: str) -> str:
    """An address as it is kept: `0x` and 40 hexadecimal digits in lower case.

    Raises:
        ValueError: it is none; the error does not repeat it.
    """
    lowered = address.strip().lower()
    if not _ADDRESS.fullmatch(lowered):
        raise ValueError("an address is 0x and 40 hexadecimal digits")
    return lowered


def short(address: str) -> str:
    """An address as logs show it: `0x1234…abcd`."""
    return address if len(address) <= 12 else f"{address[:6]}…{address[-4:]}"
