"""What goes wrong, and when: drawn from the seed, or on command."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from deployments.sandbox.exchange.options import ExchangeOptions

FaultKind = Literal["storm", "error", "too_many", "broken", "truncated", "slow"]

#: What stands in front of the exchange answers in HTML when it has nobody to ask.
HTML = (
    "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}</h1></center>"
    "\r\n<hr><center>gateway</center>\r\n</body>\r\n</html>\r\n"
)
REASONS = {500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Temporarily Unavailable"}
#: Trades that are none; `{good}` ones stand in the same frame.
BAD_TRADES = (
    '{"coin":"BTC","side":"B","px":"100000.0","time":1,"hash":"0x00","tid":1}',
    '{"coin":"BTC","side":"B","px":"many","sz":"0.1","time":1,"hash":"0x00","tid":1,"users":["0x00","0x00"]}',
    '{"coin":"BTC","side":"B","px":"100000.0","sz":"-0.1","time":1,"hash":"0x00","tid":1,"users":["0x5a","0xdb"]}',
    '{"coin":"BTC","side":"B","px":"100000.0","sz":"0.1","time":"now","hash":"0x00","tid":1,"users":["0x5a"]}',
    "null",
)
BAD_FRAMES = ('{"channel":"trades","data":[{"coin":"BTC","si', "Internal error", "<html></html>", '{"channel":')
ERRORS = ("Cannot track more than 10 total users.", "Internal server error", "Invalid subscription")


@dataclass(frozen=True)
class Fault:
    """One that an answer is to show."""

    kind: FaultKind
    status: int = 0
    #: Of a broken connection: reset, instead of closed in good order.
    reset: bool = False

    def html(self) -> bytes:
        """The body of a 5xx."""
        return HTML.format(status=self.status, reason=REASONS[self.status]).encode()


class Faults:
    """Draws what goes wrong."""

    def __init__(self, seed: int, now: float) -> None:
        self.random = Random(f"{seed}/faults")  # noqa: S311 - no secret depends on it
        self._storm_until = now
        self._calm_since = now

    def storm(self, now: float, seconds: float) -> None:
        """Let a 502 storm begin."""
        self._storm_until = now + seconds

    def stormy(self, now: float, options: ExchangeOptions) -> bool:
        """Whether there is a storm."""
        if now < self._storm_until:
            return True
        self._calm_since = max(self._calm_since, self._storm_until)
        if options.storm_every and now - self._calm_since >= options.storm_every:
            self.storm(now, options.storm_seconds)
            return True
        return False

    def draw(self, options: ExchangeOptions) -> Fault | None:
        """The next request's fault; kinds exclude each other."""
        rates: tuple[tuple[FaultKind, float], ...] = (
            ("error", options.error_rate),
            ("too_many", options.too_many_rate),
            ("broken", options.broken_rate),
            ("truncated", options.truncated_rate),
            ("slow", options.slow_rate),
        )
        drawn = self.random.random()
        for kind, rate in rates:
            if drawn < rate:
                status = self.random.choice((500, 502, 502, 503)) if kind == "error" else 0
                return Fault(kind, status, reset=kind == "broken" and self.random.random() < 0.5)
            drawn -= rate
        return None

    def latency(self, options: ExchangeOptions) -> float:
        """Seconds one way."""
        low, high = options.latency
        return self.random.uniform(low, high) if high > 0 else 0.0

    def extra_messages(self, options: ExchangeOptions, good: Callable[[], str]) -> list[tuple[str, str]]:
        """Messages that nobody needs, sent beside one with trades; by what they are counted as."""
        drawn = self.random.random
        found: list[tuple[str, str]] = []
        if drawn() < options.empty_rate:
            found.append(("empty", '{"channel":"trades","data":[]}'))
        if drawn() < options.error_frame_rate:
            found.append(("error", f'{{"channel":"error","data":"{self.random.choice(ERRORS)}"}}'))
        if drawn() < options.malformed_frame_rate:
            found.append(("malformed", self.random.choice(BAD_FRAMES)))
        if drawn() < options.malformed_trade_rate:
            # A good trade stands before it, which was or will be sent again: nothing is lost with the frame.
            bad = self.random.choice(BAD_TRADES)
            found.append(("malformed_trade", f'{{"channel":"trades","data":[{good()},{bad}]}}'))
        return found
