"""Answers of `POST /info` as msgspec structs.

Sizes, prices and amounts are `Decimal`, exactly as the exchange wrote them. Unknown fields are ignored, and what older
or smaller answers lack is None; only what nobody can do without is required. A number that is none (`NaN`, `1e999`), a
time in the future and a text with control characters are turned away with their place in the answer.
"""

from decimal import Decimal
from time import time_ns
from typing import Annotated, Any, Literal

import msgspec

# No size, price or amount of any market has more digits before its point, or after it.
_MOST_DIGITS = 60
#: Milliseconds that the exchange may be ahead of this machine's clock.
AHEAD = 3_600_000

#: Times in milliseconds and numbers of things, as a signed 64-bit column holds them.
Whole = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
#: The name of a coin: printable, without blanks.
Coin = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,64}\Z")]
#: A small number of things, as a signed 32-bit column holds it.
Small = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
#: Any other text.
Text = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]{0,200}\Z")]

#: A time of the exchange in milliseconds, and a value.
Point = tuple[Whole, Decimal]


def check_number(value: Decimal) -> None:
    """Turn away what is no plain number.

    Raises:
        ValueError: it is not finite, or beyond all measure.
    """
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_MOST_DIGITS or value.adjusted() > _MOST_DIGITS:
        raise ValueError("a number that is none")


def check_time(value: int) -> None:
    """Turn away a time that cannot be: who goes on from there would wait for it.

    Raises:
        ValueError: it is later than our clock, by more than clocks differ.
    """
    if value > time_ns() // 1_000_000 + AHEAD:
        raise ValueError("a time in the future")


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of all answers; fields are the exchange's own names in snake case."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, Decimal):
                check_number(value)
            elif name == "time" and value is not None:
                check_time(value)


class Leverage(Answer, frozen=True, kw_only=True):
    """How a position is leveraged: `cross` or `isolated`."""

    type: Text
    value: Small
    raw_usd: Decimal | None = None


class CumFunding(Answer, frozen=True, kw_only=True):
    """Funding that a position has paid (positive) or received."""

    all_time: Decimal | None = None
    since_open: Decimal | None = None
    since_change: Decimal | None = None


class Position(Answer, frozen=True, kw_only=True):
    """A position; `szi` is its signed size: negative is short."""

    coin: Coin
    szi: Decimal
    entry_px: Decimal | None = None
    position_value: Decimal | None = None
    unrealized_pnl: Decimal | None = None
    return_on_equity: Decimal | None = None
    leverage: Leverage | None = None
    liquidation_px: Decimal | None = None
    margin_used: Decimal | None = None
    max_leverage: int | None = None
    cum_funding: CumFunding | None = None


class AssetPosition(Answer, frozen=True, kw_only=True):
    """A position and its kind, `oneWay`."""

    position: Position
    type: Text = "oneWay"


class MarginSummary(Answer, frozen=True, kw_only=True):
    """What an account is worth and how much of it is bound."""

    account_value: Decimal
    total_ntl_pos: Decimal | None = None
    total_raw_usd: Decimal | None = None
    total_margin_used: Decimal | None = None


class ClearinghouseState(Answer, frozen=True, kw_only=True):
    """A trader's perpetual positions on one dex. Some answers lack the margin summary, and old ones the time."""

    asset_positions: list[AssetPosition]
    margin_summary: MarginSummary | None = None
    cross_margin_summary: MarginSummary | None = None
    cross_maintenance_margin_used: Decimal | None = None
    withdrawable: Decimal | None = None
    time: Whole | None = None

    @property
    def positions(self) -> list[Position]:
        """The positions without their kind."""
        return [one.position for one in self.asset_positions]

    @property
    def account_value(self) -> Decimal | None:
        """The whole account's value. The cross margin's stands in only where no position has a margin of its own."""
        if self.margin_summary is not None:
            return self.margin_summary.account_value
        isolated = any(one.leverage is not None and one.leverage.type == "isolated" for one in self.positions)
        if self.cross_margin_summary is None or isolated:
            return None
        return self.cross_margin_summary.account_value


class Liquidation(Answer, frozen=True, kw_only=True):
    """What a fill says of the liquidation that it belongs to."""

    liquidated_user: Text | None = None
    mark_px: Decimal | None = None
    method: Text | None = None


class UserFill(Answer, frozen=True, kw_only=True):
    """One fill of a trader. `closed_pnl` is gross of the fee; fills of 2023 have neither `tid` nor `fee_token`.

    Dust conversions have `tid` 0. `start_position` is the signed size before the fill.
    """

    coin: Coin
    px: Decimal
    sz: Decimal
    side: Literal["A", "B"]
    time: Whole
    start_position: Decimal
    dir: Text
    closed_pnl: Decimal
    hash: Text = ""
    oid: Whole | None = None
    crossed: bool | None = None
    fee: Decimal = Decimal(0)
    fee_token: Text | None = None
    builder_fee: Decimal | None = None
    tid: Whole | None = None
    liquidation: Liquidation | None = None
    twap_id: Whole | None = None
    cloid: Text | None = None


class FundingDelta(Answer, frozen=True, kw_only=True):
    """A payment of funding: `usdc` is positive where the trader received it."""

    coin: Coin
    usdc: Decimal
    szi: Decimal | None = None
    funding_rate: Decimal | None = None
    n_samples: int | None = None
    type: Text = "funding"


class UserFunding(Answer, frozen=True, kw_only=True):
    """One payment of funding and its time."""

    time: Whole
    delta: FundingDelta
    hash: Text = ""


class LiquidatedPosition(Answer, frozen=True, kw_only=True):
    """One position that a liquidation took."""

    coin: Coin
    szi: Decimal


class LedgerDelta(Answer, frozen=True, kw_only=True):
    """A deposit, withdrawal, transfer, liquidation...: `type` says which, and with it which fields there are."""

    type: Text
    usdc: Decimal | None = None
    amount: Decimal | None = None
    token: Text | None = None
    usdc_value: Decimal | None = None
    fee: Decimal | None = None
    native_token_fee: Decimal | None = None
    fee_token: Text | None = None
    user: Text | None = None
    destination: Text | None = None
    source_dex: Text | None = None
    destination_dex: Text | None = None
    to_perp: bool | None = None
    is_deposit: bool | None = None
    vault: Text | None = None
    requested_usd: Decimal | None = None
    commission: Decimal | None = None
    closing_cost: Decimal | None = None
    basis: Decimal | None = None
    net_withdrawn_usd: Decimal | None = None
    account_value: Decimal | None = None
    liquidated_ntl_pos: Decimal | None = None
    leverage_type: Text | None = None
    liquidated_positions: list[LiquidatedPosition] | None = None


class LedgerUpdate(Answer, frozen=True, kw_only=True):
    """One change of an account that is neither a trade nor funding."""

    time: Whole
    delta: LedgerDelta
    hash: Text = ""


class PortfolioPeriod(Answer, frozen=True, kw_only=True):
    """An account's worth and cumulative profit over one period, irregularly spaced."""

    account_value_history: list[Point]
    pnl_history: list[Point]
    vlm: Decimal | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for history in (self.account_value_history, self.pnl_history):
            for moment, value in history:
                check_time(moment)
                check_number(value)


class Portfolio(msgspec.Struct, frozen=True):
    """The periods by name: `day`, `week`, `month`, `allTime`, and the same of perpetuals alone (`perpDay`...)."""

    periods: dict[str, PortfolioPeriod]


class AssetMeta(Answer, frozen=True, kw_only=True):
    """A perpetual: its coin, and how finely sizes are written."""

    name: Coin
    sz_decimals: int
    max_leverage: int | None = None
    only_isolated: bool | None = None
    is_delisted: bool | None = None


class Meta(Answer, frozen=True, kw_only=True):
    """The perpetuals of one dex."""

    universe: list[AssetMeta]
    collateral_token: int | None = None


class Candle(Answer, frozen=True, kw_only=True, rename=None):
    """Prices of one interval. The names are the exchange's: open time `t`, close time `T`, `o`, `h`, `l`, `c`."""

    t: Whole
    T: Whole
    s: Coin
    i: Text
    o: Decimal
    h: Decimal
    l: Decimal  # noqa: E741
    c: Decimal
    v: Decimal
    n: int


class ExchangeStatus(Answer, frozen=True, kw_only=True):
    """The exchange's clock, and what it has to say."""

    time: Whole | None = None
    special_statuses: Any = None
