"""Tables of the `rates` database: what all processes of a key know of its limits. Short-lived rows; see `rate_ledger`.

Times are seconds of the route's own clock, which never goes back: what its database's clock says plus `clock_offset`.
"""

from typing import ClassVar

from sqlalchemy import BigInteger, Index, Integer, MetaData, UniqueConstraint
from sqlmodel import Field, SQLModel


class RateTable(SQLModel):
    """Base of the limiter's tables; their metadata is their own, so that they migrate alone."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={"ix": "ix_%(column_0_label)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s"}
        | {"fk": "fk_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"}
    )


class RateRoute(RateTable, table=True):
    """One key on one route. Every transaction locks this row first, and stamps what it writes with a version of it."""

    __tablename__ = "rate_route"
    __table_args__ = (UniqueConstraint("key_name", "route"),)

    id: int | None = Field(default=None, primary_key=True)
    #: A fingerprint; the key itself is nowhere.
    key_name: str = Field(max_length=64)
    route: str = Field(max_length=64)
    version: int = Field(default=0, sa_type=BigInteger)
    #: The route's clock at the last transaction that wrote: no later one reads less.
    clock: float = 0.0
    clock_offset: float = 0.0


class RateBucket(RateTable, table=True):
    """What is known of the limits of one method, or of the whole application on a route (method is empty)."""

    __tablename__ = "rate_bucket"

    route_id: int = Field(primary_key=True, foreign_key="rate_route.id")
    method: str = Field(primary_key=True, max_length=100)
    #: As the answers' headers told them, `20:1,100:120`; None until then.
    windows: str | None = Field(default=None, max_length=500)
    #: Whether requests may be missing, so that an answer must tell the counts before several are sent at once.
    doubted: bool = False
    blocked_until: float | None = None
    version: int = Field(sa_type=BigInteger)


class RateRequest(RateTable, table=True):
    """One request and its weight, or (with `seconds`) several that the server has counted and nobody here has sent."""

    __tablename__ = "rate_request"
    __table_args__ = (
        Index("ix_rate_request_version", "route_id", "version"),
        Index("ix_rate_request_received_at", "route_id", "received_at"),
    )

    owner: int = Field(primary_key=True, sa_type=BigInteger)
    number: int = Field(primary_key=True, sa_type=BigInteger)
    route_id: int = Field(foreign_key="rate_route.id")
    method: str = Field(max_length=100)
    granted_at: float
    #: None: in flight. Zero: it was never sent.
    received_at: float | None = None
    #: Of requests that are not ours: the window that they were counted in; `weight` is how many they are.
    seconds: float | None = None
    weight: int = Field(default=1, sa_type=Integer)
    version: int = Field(sa_type=BigInteger)


class RateOwner(RateTable, table=True):
    """A process that sends requests, so that those of a dead one do not count as in flight for ever."""

    __tablename__ = "rate_owner"

    id: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    #: The machine, its boot and the process namespace: only within them does a process id mean anything.
    place: str = Field(max_length=200)
    pid: int
    started: str = Field(max_length=64)
    #: Grows while the process holds or wants permits.
    beats: int = Field(default=0, sa_type=BigInteger)
    #: By the database's clock; only to remove rows of processes that are long gone.
    beaten_at: float
