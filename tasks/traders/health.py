"""Looks at all that the trader leaderboard stands on: databases, stream, polls, what waits, Redis, and the exchange.

Needs the traders ledger and the rate limiter's; asks the exchange one question of weight 2.
"""

import asyncio
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select

from blocks.engine import LedgerError, LedgerOutdatedError, check_integrity, session
from blocks.exchange.errors import ExchangeError, ExchangeUnavailableError
from blocks.rate_tables import RateTable
from tasks.foundation.core.columns import utc_now
from tasks.foundation.retries import MAINTENANCE
from tasks.traders.api import exchange
from tasks.traders.core.health import Finding, Level, fine, ledger_findings
from tasks.traders.core.schema import TradersTable
from tasks.traders.core.tables import DOMAIN
from tasks.traders.publishing import PublishingError, check_channel

#: The exchange is asked again for so long; a worker is not to be kept for the 15 minutes that tracking would wait.
_PATIENCE_SECONDS = 20.0
#: One window and a little more: by then the request has had its turn.
_TURN_SECONDS = 90.0
_DATABASES = {DOMAIN: TradersTable.metadata, "rates": RateTable.metadata}


class HealthFinding(BaseModel):
    """One thing that was looked at."""

    model_config = ConfigDict(frozen=True)

    name: str
    level: Level
    what: str
    #: Empty where nothing is.
    what_to_do: str


class HealthReport(BaseModel):
    """Everything that was looked at."""

    model_config = ConfigDict(frozen=True)

    findings: tuple[HealthFinding, ...]

    def at(self, level: Level) -> list[HealthFinding]:
        """What is in this state."""
        return [finding for finding in self.findings if finding.level is level]

    @property
    def level(self) -> Level:
        """The worst there is."""
        return next((level for level in (Level.FAILING, Level.DEGRADED) if self.at(level)), Level.OK)


@MAINTENANCE.task
async def health_check() -> HealthReport:
    """Look at databases, stream, gaps, polls, events, Redis and the exchange. What is wrong is told, and no error here.

    What cannot be looked at because something else is wrong is left out: without a database there is no stream.
    """
    findings = await asyncio.to_thread(lambda: [finding for domain in _DATABASES for finding in _database(domain)])
    broken = {finding.name.partition(" ")[0] for finding in findings if finding.level is not Level.OK}
    if DOMAIN not in broken:
        findings += await asyncio.to_thread(_ledger)
    findings.append(await _channel())
    if "rates" not in broken:
        findings.append(await _exchange())
    return HealthReport(
        findings=tuple(
            HealthFinding(name=each.name, level=each.level, what=each.what, what_to_do=each.what_to_do)
            for each in findings
        )
    )


def _failing(name: str, what: str, what_to_do: str) -> Finding:
    return Finding(name, Level.FAILING, what, what_to_do)


def _database(domain: str) -> Iterator[Finding]:
    name = f"{domain} database"
    try:
        check_integrity(domain)
        for table in _DATABASES[domain].sorted_tables:
            with session(domain, read_only=True) as opened:
                opened.connection().execute(select(*table.columns).limit(1)).all()
    except LedgerOutdatedError as error:
        yield _failing(name, f"it is older than this version of quintet: {error}", "run `quintet apply`")
    except LedgerError as error:
        yield _failing(name, str(error), "see the text on the left, then look again")
    else:
        yield fine(name, "answers, is whole, and has all tables and columns")


def _ledger() -> list[Finding]:
    with session(DOMAIN, read_only=True) as opened:
        return list(ledger_findings(opened, utc_now()))


async def _channel() -> Finding:
    try:
        return fine("redis", await check_channel())
    except PublishingError as error:
        advice = "start Redis, or correct QUINTET_TRADERS__REDIS_URL; events wait in the ledger meanwhile"
        return _failing("redis", str(error), advice)


async def _exchange() -> Finding:
    try:
        configured = await exchange()
        async with (
            asyncio.timeout(_TURN_SECONDS),
            configured.client(patience_seconds=_PATIENCE_SECONDS) as client,
        ):
            await client.exchange_status()
    except ExchangeUnavailableError as error:
        return _failing("exchange", f"it gives no answer: {error}", "wait; if it lasts, see the exchange's own status")
    except TimeoutError:
        what = f"no turn to ask within {_TURN_SECONDS:g} s: the weight is used up"
        return Finding("exchange", Level.DEGRADED, what, "see the weight above; stop what else calls from this address")
    except (ExchangeError, LedgerError) as error:
        return _failing("exchange", f"it cannot be asked: {error}", "see the text on the left")
    return fine("exchange", "it answers")
