"""The preamble and file meta group that a data set received without them is stored with (PS3.10 section 7.1)."""

import struct

#: Made once for quintet from a random UUID (PS3.5 annex B.2).
IMPLEMENTATION_CLASS_UID = "2.25.292651423488391644642657365934739939698"
IMPLEMENTATION_VERSION_NAME = "QUINTET_1"
_PREAMBLE = b"\0" * 128 + b"DICM"


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    if vr == b"OB":
        return struct.pack("<HH2sHI", 2, element, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def _text(element: int, vr: bytes, value: str) -> bytes:
    encoded = value.encode("ascii")
    # PS3.5 section 6.2: UIDs are padded to even length with a null, text with a space.
    padding = b"\0" if vr == b"UI" else b" "
    return _element(element, vr, encoded + padding * (len(encoded) % 2))


def encode_file_meta(
    *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae: str | None = None
) -> bytes:
    """Preamble, prefix and file meta group, ready to be written before the data set.

    Args:
        sop_class_uid: Affected SOP Class UID of the command.
        sop_instance_uid: Affected SOP Instance UID of the command.
        transfer_syntax_uid: of the presentation context that the data set came in.
        source_ae: calling AE title of the sender.
    """
    body = (
        _element(0x0001, b"OB", b"\x00\x01")
        + _text(0x0002, b"UI", sop_class_uid)
        + _text(0x0003, b"UI", sop_instance_uid)
        + _text(0x0010, b"UI", transfer_syntax_uid)
        + _text(0x0012, b"UI", IMPLEMENTATION_CLASS_UID)
        + _text(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME)
    )
    if source_ae:
        body += _text(0x0016, b"AE", source_ae)
    return _PREAMBLE + _element(0x0000, b"UL", struct.pack("<I", len(body))) + body
