"""What the sandbox is told: on the command line, by tests, at run time. The defaults are a good exchange's."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import isinf
from typing import Any, Literal

#: Headings of `--help`, each before the option that it begins with.
_GROUPS = {
    "seed": "traders and their past",
    "rate": "the market while it runs",
    "weight": "limits of one IP address",
    "latency": "HTTP, and what goes wrong with it",
    "greeting": "the WebSocket, and what goes wrong with it",
}
_CHOICES = {"windows": ["fixed", "sliding"], "slow_client": ["wait", "close"]}


class OptionError(ValueError):
    """An option the sandbox does not know, or a value that it cannot take; the text says which."""


def _about(text: str, *, live: bool = True) -> dict[str, Any]:
    """What `--help` says of an option; `live` ones can be changed at run time."""
    return {"about": text, "live": live}


def _fixed(text: str) -> dict[str, Any]:
    return _about(text, live=False)


@dataclass(frozen=True, kw_only=True)
class ExchangeOptions:
    """All options; see `--help`, which is made of this."""

    seed: int = field(default=1, metadata=_fixed("everything is made from it"))
    traders: int = field(default=40, metadata=_fixed("traders there are"))
    coins: tuple[str, ...] = field(
        default=("BTC", "ETH", "SOL", "AVAX", "SUI", "xyz:AAPL", "@107"),
        metadata=_fixed("what is traded, comma separated; earlier ones more often"),
    )
    activity: float = field(default=0.9, metadata=_fixed("exponent of Zipf's law of who trades how often"))
    skill_sd: float = field(default=0.05, metadata=_fixed("spread of the traders' true daily Sharpe ratios"))
    days: int = field(default=90, metadata=_fixed("UTC days of past before today"))
    start_time: int = field(
        default=0, metadata=_fixed("when the market opens, milliseconds since 1970; 0: now, by the wall clock")
    )
    flat_start: bool = field(default=True, metadata=_fixed("nobody has a position when the market opens"))
    trips_a_day: float = field(default=6.0, metadata=_fixed("positions that the most active ones open a day"))
    short_history_rate: float = field(default=0.2, metadata=_fixed("part of the traders whose past is shorter"))
    idle_day_rate: float = field(default=0.1, metadata=_fixed("part of the days on which one does not trade"))
    overnight_rate: float = field(default=0.15, metadata=_fixed("part of the days that end with an open position"))
    flow_rate: float = field(default=0.05, metadata=_fixed("part of the days with a deposit or a withdrawal"))
    funding_hours: int = field(default=8, metadata=_fixed("hours between two fundings: 1 as today, 8 as formerly"))
    edge_cases: bool = field(
        default=True, metadata=_fixed("one without a past, a vault, dust, spot, transfers between accounts")
    )

    rate: float = field(default=20.0, metadata=_about("trades a second; inf: as fast as clients read"))
    block_ms: int = field(default=100, metadata=_about("milliseconds between blocks; all trades of one have its time"))
    trades: int = field(default=0, metadata=_about("trades after which the market stops by itself; 0: never"))
    prepare: int = field(default=0, metadata=_fixed("trades made and encoded before it starts, for high rates"))
    paused: bool = field(default=False, metadata=_about("start with a market that stands still until POST /__resume"))
    await_subscriptions: int = field(
        default=0, metadata=_about("the market stands still while fewer subscriptions are there")
    )
    sweep_rate: float = field(default=0.2, metadata=_about("part of the orders that fill in several trades"))
    flip_rate: float = field(default=0.1, metadata=_about("part of the reducing orders that flip"))
    close_rate: float = field(default=0.4, metadata=_about("part of the reducing orders that close"))
    liquidation_rate: float = field(default=0.02, metadata=_about("part of the reducing orders that are liquidations"))
    leverage_rate: float = field(default=0.02, metadata=_about("changes of leverage by order"))
    self_trade_rate: float = field(default=0.002, metadata=_about("part of the orders that meet their own"))
    recent: int = field(default=10, metadata=_fixed("trades that recentTrades knows"))

    weight: int = field(default=1200, metadata=_about("weight permitted in a window"))
    weight_window: float = field(default=60.0, metadata=_about("its seconds"))
    windows: Literal["fixed", "sliding"] = field(default="sliding", metadata=_about("how windows count"))
    count_rejected: bool = field(default=False, metadata=_about("requests answered 429 count, too"))
    connections: int = field(default=10, metadata=_about("WebSocket connections at once"))
    new_connections: int = field(default=30, metadata=_about("new ones in a window of --ws-window"))
    subscriptions: int = field(default=1000, metadata=_about("subscriptions at once"))
    messages: int = field(default=2000, metadata=_about("messages received in a window of --ws-window"))
    ws_window: float = field(default=60.0, metadata=_about("seconds of the WebSocket's windows"))
    users: int = field(default=10, metadata=_about("users in subscriptions that name one"))
    idle_seconds: float = field(default=60.0, metadata=_about("a connection without a message for so long is closed"))

    latency: tuple[float, float] = field(
        default=(0.0, 0.0), metadata=_about("one-way latency in seconds, uniform between the two, A:B")
    )
    error_rate: float = field(default=0.0, metadata=_about("part of the requests answered 500, 502 or 503"))
    too_many_rate: float = field(default=0.0, metadata=_about("part answered 429 though the limit was kept"))
    broken_rate: float = field(default=0.0, metadata=_about("part whose connection breaks before an answer"))
    truncated_rate: float = field(default=0.0, metadata=_about("part whose body ends early"))
    slow_rate: float = field(default=0.0, metadata=_about("part answered late"))
    slow_seconds: float = field(default=5.0, metadata=_about("how late"))
    storm_every: float = field(default=0.0, metadata=_about("seconds from one 502 storm's end to the next; 0: never"))
    storm_seconds: float = field(default=5.0, metadata=_about("how long a storm is"))

    greeting: bool = field(default=True, metadata=_about("a connection begins with a line of plain text"))
    stall_rate: float = field(default=0.0, metadata=_about("stalls a second and connection: open, but dead silent"))
    drop_rate: float = field(default=0.0, metadata=_about("closed connections a second and connection, 1000 or 1006"))
    replay: int = field(default=0, metadata=_about("newest trades that are sent again after a subscription"))
    empty_rate: float = field(default=0.0, metadata=_about("empty frames by frame with trades"))
    error_frame_rate: float = field(default=0.0, metadata=_about("error frames by frame with trades"))
    malformed_frame_rate: float = field(default=0.0, metadata=_about("frames that are no JSON by frame with trades"))
    malformed_trade_rate: float = field(default=0.0, metadata=_about("frames with a trade too many that is none"))
    stream_delay: float = field(default=0.0, metadata=_about("seconds by which the stream is behind /info"))
    slow_client: Literal["wait", "close"] = field(
        default="wait", metadata=_about("what the market does about a client that does not read")
    )
    buffer_bytes: int = field(default=4_000_000, metadata=_about("unread bytes from which a client is slow"))

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name.endswith("_rate") and not 0 <= value <= 1:
                raise OptionError(f"{each.name}: between 0 and 1")
            if isinstance(value, (int, float)) and value < 0:
                raise OptionError(f"{each.name}: not below 0")
        for name, least in (("traders", 4), ("block_ms", 1), ("recent", 1), ("funding_hours", 1), ("weight", 1)):
            if getattr(self, name) < least:
                raise OptionError(f"{name}: at least {least}")
        for name in ("weight_window", "ws_window", "idle_seconds", "rate"):
            if getattr(self, name) <= 0:
                raise OptionError(f"{name}: above 0")
        if not self.coins or len(set(self.coins)) < len(self.coins) or not all(self.coins):
            raise OptionError("coins: at least one, each once")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise OptionError(f"{name}: {' or '.join(choices)}")
        if not 0 <= self.latency[0] <= self.latency[1]:
            raise OptionError("latency: two numbers, the smaller one first")
        if isinf(self.rate) and not self.prepare:
            raise OptionError("rate: inf is for a market that was prepared; say how many trades with --prepare")

    def changed(self, told: Mapping[str, object]) -> "ExchangeOptions":
        """These options with some changed at run time, as texts or JSON values.

        Raises:
            OptionError: a name is unknown or fixed at the start, or a value is none.
        """
        values: dict[str, Any] = {}
        for name, value in told.items():
            known = next((each for each in fields(self) if each.name == name), None)
            if known is None or not known.metadata["live"]:
                raise OptionError(f"{name}: cannot be set at run time")
            values[name] = _read(name, known.default, value)
        return replace(self, **values)


def _read(name: str, default: object, value: object) -> Any:
    """A value as the type of the option's default."""
    try:
        if name == "latency":
            low, _, high = str(value).partition(":")
            return (float(low), float(high or low))
        if name == "coins":
            return tuple(part.strip() for part in str(value).split(","))
        if isinstance(default, bool):
            return {"on": True, "true": True, "off": False, "false": False}[str(value).lower()]
        return type(default)(value)  # type: ignore[call-arg]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise OptionError(f"{name}: {value!r} is no value for it") from error


def from_command_line(arguments: Sequence[str] | None = None) -> tuple[ExchangeOptions, int]:
    """The options and the port."""
    parser = argparse.ArgumentParser(
        prog="python -m deployments.sandbox.exchange",
        usage="%(prog)s [--port PORT] [options]",
        description="A stand-in for Hyperliquid: WebSocket /ws and POST /info on one port. Prints one line of JSON "
        "when it is ready; SIGTERM ends it.",
        epilog='Ask it at run time: GET /__truth?parts=..., POST /__set {"rate": 50}, POST /__play {"n": 100}, '
        'POST /__pause, /__resume, /__finish, /__reset, POST /__trade {"trades": [...]}, POST /__leverage {...}, '
        'POST /__fault {"kind": "stall"}.',
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    group: argparse._ActionsContainer = parser
    for each in fields(ExchangeOptions):
        if each.name in _GROUPS:
            group = parser.add_argument_group(_GROUPS[each.name])
        flag, about = "--" + each.name.replace("_", "-"), each.metadata["about"]
        if isinstance(each.default, bool):
            shown = "on" if each.default else "off"
            group.add_argument(
                flag, dest=each.name, nargs="?", const="on", metavar="on|off", help=f"{about} (default {shown})"
            )
        else:
            shown = {"latency": "0:0", "coins": ",".join(ExchangeOptions.coins)}.get(each.name, str(each.default))
            group.add_argument(flag, dest=each.name, choices=_CHOICES.get(each.name), help=f"{about} (default {shown})")
    told = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    port = told.pop("port")
    try:
        read = {each.name: _read(each.name, each.default, told[each.name]) for each in _told(told)}
        return ExchangeOptions(**read), port
    except OptionError as error:
        parser.error(str(error))


def _told(told: Mapping[str, object]) -> list[Any]:
    return [each for each in fields(ExchangeOptions) if each.name in told]


def as_json(options: ExchangeOptions) -> dict[str, Any]:
    """The options as JSON values."""
    values = {each.name: getattr(options, each.name) for each in fields(options)}
    return {**values, "rate": "inf" if isinf(options.rate) else options.rate}
