"""Field shorthands that every domain's tables use."""

from enum import StrEnum
from typing import Any, cast

from sqlalchemy import BigInteger, Enum
from sqlmodel import Field

from tasks.foundation.core.columns import AutoBigInteger, ExactDecimal, UtcDateTime


def one_of(values: type[StrEnum], **options: Any) -> Any:
    """A column that holds one of an enumeration's values.

    VARCHAR, not PostgreSQL's own enum type: a new value is then no ALTER TYPE.
    """
    return Field(sa_type=cast(Any, Enum(values, native_enum=False, length=24)), **options)


def moment(**options: Any) -> Any:
    """A column that holds a UTC-aware moment."""
    return Field(sa_type=UtcDateTime, **options)


def exact(**options: Any) -> Any:
    """A column that holds a decimal number as it was told."""
    return Field(sa_type=ExactDecimal, **options)


def big(**options: Any) -> Any:
    """A column that holds a whole number of up to 64 bits."""
    return Field(sa_type=BigInteger, **options)


def counting_key() -> Any:
    """A primary key that the database counts up."""
    return Field(default=None, primary_key=True, sa_type=cast(Any, AutoBigInteger))
