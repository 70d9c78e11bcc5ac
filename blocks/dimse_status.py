"""What a C-STORE response says: stored, refused for now, or refused for good (PS3.4 B.2.3, PS3.7 Annex C)."""

from blocks.instance_store import BusyError, DuplicateError, RefusedError, Stored

SUCCESS = 0x0000
DUPLICATE_SOP_INSTANCE = 0x0111

#: Warnings of the storage service: it is stored.
WARNINGS = {
    0x0001: "stored with a warning (0001)",
    0x0107: "stored without some attributes (0107)",
    0x0116: "stored with an attribute value out of range (0116)",
    0xB000: "stored, data elements coerced (B000)",
    0xB006: "stored, elements discarded (B006)",
    0xB007: "stored, data set does not match its SOP class (B007)",
}

_FOR_GOOD = {
    0x0112: "no such object instance",
    0x0115: "invalid argument value",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0122: "SOP class not supported",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
}


def stored_or_raise(status: int) -> Stored:
    """Turn a C-STORE status into what it means.

    Anything that is not known to be for good may be tried again: a needless repeat costs less than a lost instance.

    Raises:
        BusyError: A7xx and whatever is not known.
        RefusedError: A9xx, Cxxx, and general failures that name the instance.
        DuplicateError: 0111.
    """
    if status == SUCCESS:
        return Stored(status)
    if status in WARNINGS or status >> 12 == 0xB:
        return Stored(status, WARNINGS.get(status, f"stored with a warning ({status:04X})"))
    if status == DUPLICATE_SOP_INSTANCE:
        raise DuplicateError("the peer holds this SOP Instance UID already (0111)", status=status)
    if status >> 8 == 0xA7:
        raise BusyError(f"the peer is out of resources ({status:04X})", status=status)
    if status >> 8 == 0xA9:
        raise RefusedError(
            f"the peer says that the data set does not match its SOP class ({status:04X})", status=status
        )
    if status >> 12 == 0xC:
        raise RefusedError(f"the peer cannot understand the data set ({status:04X})", status=status)
    if status in _FOR_GOOD:
        raise RefusedError(f"the peer refused it: {_FOR_GOOD[status]} ({status:04X})", status=status)
    raise BusyError(f"the peer refused it with status {status:04X}", status=status)
