"""Where instances go: the destinations that rules name, as data.

A destination is a C-STORE peer or a folder. Its address stands in the rules folder, or in a Prefect block document
where it has secrets (TLS keys).
"""

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Verification(StrEnum):
    """What makes a delivery count as verified."""

    STATUS = "status"
    C_FIND = "c_find"
    READ_BACK = "read_back"


class TransferSyntaxStrategy(StrEnum):
    """Which transfer syntaxes an association proposes beside the one an instance is in."""

    #: Only the instance's own: it is sent as it is or not at all.
    AS_IS = "as_is"
    #: Its own, then uncompressed little endian: decompressed where the peer takes nothing else.
    FALLBACK = "fallback"


class DimseAddress(BaseModel):
    """A C-STORE peer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str
    port: int = Field(ge=1, le=65535)
    called_ae: str = Field("ANY-SCP", min_length=1, max_length=16)
    calling_ae: str = Field("QUINTET", min_length=1, max_length=16)
    transfer_syntaxes: TransferSyntaxStrategy = TransferSyntaxStrategy.FALLBACK
    timeout_seconds: float = Field(30, gt=0)


class FolderAddress(BaseModel):
    """A folder; files are named `<StudyInstanceUID>/<SOPInstanceUID>/<sha256>.dcm` below it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path


class Destination(BaseModel):
    """One destination. Exactly one of `dimse`, `folder` and `block` says where it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,99}$")
    enabled: bool = True
    dimse: DimseAddress | None = None
    folder: FolderAddress | None = None
    #: A block document, `dimse-peer/<name>` or `folder/<name>`.
    block: str | None = Field(None, pattern=r"^(dimse-peer|folder)/[a-z0-9][a-z0-9-]*$")
    verify: Verification = Verification.STATUS
    #: Failed attempts before a delivery is dead; the setting `dicom.delivery.maximum_attempts` where absent.
    maximum_attempts: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        given = [name for name in ("dimse", "folder", "block") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of dimse, folder and block (given: {', '.join(given) or 'none'})")
        return self
