"""Money that came to an account or left it other than by trading, and what that did to its perpetuals' part.

Returns are measured against what stands in the account of perpetuals, so that is whose money counts here: a transfer to
the spot wallet, a sub-account or a vault takes money out of it exactly as a withdrawal does, and a transfer of spot
tokens leaves it alone.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlmodel import Session

from tasks.foundation.core.upsert import upsert_rows
from tasks.traders.core.history_tables import LedgerUpdate

_ZERO = Decimal(0)
#: Where tokens stand as `spot` in a `send`; every other name is a dex with perpetuals.
_SPOT = "spot"
#: What moves spot tokens, stakes or lends, or tells of what fills tell as well.
_ELSEWHERE = frozenset(
    {
        "spotTransfer",
        "spotGenesis",
        "cStakingTransfer",
        "liquidation",
        "borrowLend",
        "accountActivationGas",
        "deployGasAuction",
    }
)


@dataclass(frozen=True, slots=True)
class ToldUpdate:
    """One update as the exchange tells it: `details` are the fields of its `delta` in snake case, None where absent."""

    time: int
    hash: str
    kind: str
    details: Mapping[str, Any]


def perpetuals_usdc(update: ToldUpdate, address: str) -> Decimal | None:
    """What an update put into the account of perpetuals; negative is what it took out.

    Args:
        update: as told.
        address: whose ledger it stands in; vaults have ledgers too.

    Returns:
        USDC; 0 where it moved something else; None where that cannot be told.
    """
    me, details = address.lower(), update.details
    usdc: Decimal | None = details.get("usdc")
    fee: Decimal = details.get("fee") or _ZERO
    match update.kind:
        case "deposit":
            return usdc
        case "withdraw":
            return None if usdc is None else -usdc - fee
        case "accountClassTransfer":
            return None if usdc is None else usdc if details.get("to_perp") else -usdc
        case "internalTransfer" | "subAccountTransfer":
            return None if usdc is None else usdc if _is(details.get("destination"), me) else -usdc - fee
        case "vaultCreate" | "vaultDeposit":
            return None if usdc is None else usdc if _is(details.get("vault"), me) else -usdc - fee
        case "vaultWithdraw":
            net: Decimal | None = details.get("net_withdrawn_usd")
            return None if net is None else -net if _is(details.get("vault"), me) else net
        case "vaultDistribution":
            return None if usdc is None else -usdc if _is(details.get("vault"), me) else usdc
        case "vaultLeaderCommission":
            return usdc
        case "send":
            return _sent(details, me)
        case kind if kind in _ELSEWHERE:
            return _ZERO
    return None


def _is(address: object, me: str) -> bool:
    return isinstance(address, str) and address.lower() == me


def _sent(details: Mapping[str, Any], me: str) -> Decimal | None:
    leaves = _is(details.get("user"), me) and details.get("source_dex") != _SPOT
    comes = _is(details.get("destination"), me) and details.get("destination_dex") != _SPOT
    if leaves == comes:
        return _ZERO
    value: Decimal | None = details.get("usdc_value")
    if value is None and str(details.get("token") or "").partition(":")[0] == "USDC":
        value = details.get("amount")
    return None if value is None else value if comes else -value


def store_updates(session: Session, trader_id: int, address: str, updates: Iterable[ToldUpdate]) -> int:
    """Store updates unless they are there.

    Args:
        session: the transaction; nothing is committed.
        trader_id: whose.
        address: same.
        updates: of each millisecond all that there are, or none.

    Returns:
        How many there were, known ones included.
    """
    seen: Counter[tuple[int, str]] = Counter()
    rows = []
    for update in updates:
        name = _name(update)
        place = seen[update.time, name]
        seen[update.time, name] += 1
        rows.append(
            {
                "trader_id": trader_id,
                "time": update.time,
                "key": f"{name}:{place}" if place else name,
                "kind": update.kind[:40],
                "usdc": perpetuals_usdc(update, address),
            }
        )
    upsert_rows(session, LedgerUpdate, rows, key=("trader_id", "time", "key"))
    return len(rows)


def _name(update: ToldUpdate) -> str:
    """The transaction's hash and what the update says: one transaction may do several things, and many have no hash."""
    said = json.dumps(
        [update.kind, {name: value for name, value in sorted(update.details.items()) if value is not None}], default=str
    )
    return f"{update.hash[:66]}:{hashlib.blake2b(said.encode(), digest_size=4).hexdigest()}"
