"""What can be the address of the Riot API, and what can be a key of it; blocks and settings ask the same."""

import re
from ipaddress import ip_address

import httpx

#: What may stand in a header: anything else in a key is a slip of copying.
_VISIBLE = re.compile(r"[\x21-\x7e]+")


def check_api_key(text: str) -> str:
    """A key without the blanks around it. The error does not tell it.

    Raises:
        ValueError: it is empty, or holds characters that no key has.
    """
    key = text.strip()
    if not _VISIBLE.fullmatch(key):
        raise ValueError("the key is empty, or holds characters that no key has")
    return key


def check_base_url(template: str) -> str:
    """An address of the API with `{route}` in it.

    Raises:
        ValueError: it lacks `{route}`, holds more than an address, or would send the key unencrypted to another
            machine.
    """
    if template.count("{route}") != 1 or template.replace("{route}", "").count("{"):
        raise ValueError("the address must hold {route} once, as in https://{route}.api.riotgames.com")
    problem = ""
    try:
        # What is sent is read by the same parser, so that both see the same host.
        address = httpx.URL(template.replace("{route}", "route"))
    except httpx.InvalidURL as error:
        problem = str(error)
    if problem:
        raise ValueError(f"the address cannot be read: {problem}")
    if address.scheme not in ("https", "http") or not address.host:
        raise ValueError("the address must begin with https:// and a host")
    if address.userinfo or address.query or address.fragment:
        raise ValueError("the address must hold no user, no query and no fragment")
    if address.scheme == "http" and not _is_loopback(address.host):
        raise ValueError("an http address must be on this machine: the key would be sent unencrypted")
    return template


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
