"""The operators of criteria: what an operator needs as its value, and how it compares.

An element may have several values. The positive operators hold when any value fits, `ne` and `not_in` when all values
differ. What cannot be compared does not hold: rules fail closed.
"""

from collections.abc import Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from tasks.dicom.core.rules.patterns import compiled, found
from tasks.dicom.core.rules.values import equal, number


class Operator(StrEnum):
    """How an element is compared."""

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    LT = "lt"
    GE = "ge"
    LE = "le"
    CONTAINS = "contains"
    STARTSWITH = "startswith"
    ENDSWITH = "endswith"
    EXISTS = "exists"
    NOT_EXISTS = "not_exists"
    REGEX = "regex"
    IN = "in"
    NOT_IN = "not_in"


class IpOperator(StrEnum):
    """How a source address is compared."""

    IP_EQ = "ip_eq"
    IP_STARTSWITH = "ip_startswith"
    IP_IN_SUBNET = "ip_in_subnet"


PRESENCE = frozenset({Operator.EXISTS, Operator.NOT_EXISTS})
LISTS = frozenset({Operator.IN, Operator.NOT_IN})
ORDER = frozenset({Operator.GT, Operator.LT, Operator.GE, Operator.LE})
#: Hold only when they hold for all values.
NEGATIVE = frozenset({Operator.NE, Operator.NOT_IN})

Expected = str | list[str] | None


def check_expected(operator: Operator | IpOperator, expected: Expected) -> None:
    """Refuse a value that the operator cannot work with.

    Raises:
        ValueError: says what the operator needs.
    """
    if operator in PRESENCE:
        if expected is not None:
            raise ValueError(f"{operator} takes no value")
        return
    if expected is None:
        raise ValueError(f"{operator} needs a value")
    if operator in LISTS:
        if not isinstance(expected, list) or not expected:
            raise ValueError(f"{operator} needs a list of values")
        return
    if isinstance(expected, list) and operator is not IpOperator.IP_IN_SUBNET:
        raise ValueError(f"{operator} needs one value, not a list")
    for value in expected if isinstance(expected, list) else [expected]:
        _check_one(operator, value)


def _check_one(operator: Operator | IpOperator, value: str) -> None:
    if operator in ORDER and number(value) is None:
        raise ValueError(f"{operator} needs a number (dates and times count as numbers: 20240131)")
    if operator is Operator.REGEX:
        compiled(value)
    if operator is IpOperator.IP_EQ:
        ip_address(value)
    if operator is IpOperator.IP_IN_SUBNET:
        ip_network(value)


def holds(operator: Operator, expected: Expected, values: Sequence[str]) -> bool:
    """Whether the values of a present element fit.

    Raises:
        PatternTimeoutError: a regular expression took too long.
    """
    if operator in PRESENCE:
        return operator is Operator.EXISTS
    wanted = [] if expected is None else expected if isinstance(expected, list) else [expected]
    if operator in NEGATIVE:
        return bool(values) and all(_differs(value, wanted) for value in values)
    return any(_fits(operator, value, wanted) for value in values)


def _differs(value: str, wanted: list[str]) -> bool:
    return not any(equal(value, other) for other in wanted)


def _fits(operator: Operator, value: str, wanted: list[str]) -> bool:
    match operator:
        case Operator.EQ | Operator.IN:
            return not _differs(value, wanted)
        case Operator.CONTAINS:
            return wanted[0] in value
        case Operator.STARTSWITH:
            return value.startswith(wanted[0])
        case Operator.ENDSWITH:
            return value.endswith(wanted[0])
        case Operator.REGEX:
            return found(wanted[0], value)
    left, right = number(value), number(wanted[0])
    if left is None or right is None:
        return False
    match operator:
        case Operator.GT:
            return left > right
        case Operator.LT:
            return left < right
        case Operator.GE:
            return left >= right
        case Operator.LE:
            return left <= right
    return False


Address = IPv4Address | IPv6Address


def plain_address(text: str) -> Address | None:
    """The address that a text is, IPv4 where it is mapped into IPv6 and without a zone; None where it is none."""
    try:
        address = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def ip_holds(operator: IpOperator, expected: Expected, source_ip: str) -> bool:
    """Whether a source address fits."""
    address = plain_address(source_ip)
    wanted = [] if expected is None else expected if isinstance(expected, list) else [expected]
    if address is None:
        return False
    match operator:
        case IpOperator.IP_EQ:
            return any(address == plain_address(value) for value in wanted)
        case IpOperator.IP_STARTSWITH:
            forms = (str(address), address.exploded)
            return any(form.startswith(value.lower()) for form in forms for value in wanted)
        case IpOperator.IP_IN_SUBNET:
            return any(_in_network(address, ip_network(value)) for value in wanted)


def _in_network(address: Address, network: IPv4Network | IPv6Network) -> bool:
    if isinstance(network, IPv6Network) and isinstance(address, IPv4Address):
        # A network of mapped addresses, `::ffff:10.0.0.0/104`, means the IPv4 ones.
        mapped = network.network_address.ipv4_mapped
        if mapped is None or network.prefixlen < 96:
            return False
        network = IPv4Network((mapped, network.prefixlen - 96))
    return address in network
