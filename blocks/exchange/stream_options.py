"""Times and sizes of the trade stream; the defaults are the exchange's documented limits."""

from dataclasses import dataclass, fields

from blocks.exchange.limits import CONNECTIONS_ROUTE, MESSAGES_ROUTE
from blocks.exchange.pacing import Limits
from blocks.settings import settings

_MINUTE = 60.0


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """What may be set of a trade stream.

    Attributes:
        subscriptions: that the exchange permits one address.
        connections: that it permits.
        new_connections_per_minute: new ones that it permits a minute.
        messages_per_minute: messages that it permits to be sent a minute.
        subscriptions_per_connection: coins that share one connection.
        subscribe_interval_seconds: pause between two subscriptions of a connection.
        ack_seconds: time in which a subscription must be acknowledged.
        retry_seconds: first wait until a coin that was refused is asked for again; doubles.
        ping_seconds: time between two pings; the exchange closes connections that are idle for 60 s.
        silence_seconds: a connection on which nothing came for so long is taken for dead.
        reconnect_base_seconds: bound of the first wait before a reconnect; doubles.
        reconnect_cap_seconds: greatest bound of it.
        stable_seconds: a connection that lasted so long lets the waits begin anew.
        open_seconds: time in which a connection must be open.
        close_seconds: time that a close is waited for.
        maximum_frame_bytes: a larger frame is not taken, and ends the connection.
        queue_trades: trades held for who reads, at most; then the sockets are not read.
        future_seconds: a trade that is later than our clock by more is rejected.
    """

    subscriptions: int = 1000
    connections: int = 10
    new_connections_per_minute: int = 30
    messages_per_minute: int = 2000
    subscriptions_per_connection: int = 100
    subscribe_interval_seconds: float = 0.1
    ack_seconds: float = 10.0
    retry_seconds: float = 30.0
    ping_seconds: float = 20.0
    silence_seconds: float = 50.0
    reconnect_base_seconds: float = 0.5
    reconnect_cap_seconds: float = 60.0
    stable_seconds: float = 60.0
    open_seconds: float = 10.0
    close_seconds: float = 2.0
    # Some four thousand trades; the library holds up to seventeen frames that were not asked for yet.
    maximum_frame_bytes: int = 2**20
    queue_trades: int = 200_000
    # Clocks without care are minutes off; a trade from next year would stand in the way of all until then.
    future_seconds: float = 600.0

    @classmethod
    def from_settings(cls) -> "StreamOptions":
        """As the settings say; what they do not name is as above."""
        traders = settings().traders
        named = [field.name for field in fields(cls) if field.name in type(traders).model_fields]
        return cls(**{name: getattr(traders, name) for name in named})

    @property
    def limits(self) -> Limits:
        """What the exchange permits one address, by route."""
        return {
            CONNECTIONS_ROUTE: (self.new_connections_per_minute, _MINUTE),
            MESSAGES_ROUTE: (self.messages_per_minute, _MINUTE),
        }
