"""Looks at all that the player system stands on: databases, key, limits, what is still to be fetched, syncs.

Needs the league ledger and the rate ledger; asks the Riot API one cheap question.
"""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import select

from blocks.engine import LedgerError, LedgerOutdatedError, check_integrity, session
from blocks.rate_ledger import BucketUse, read_rates
from blocks.rate_tables import RateTable
from blocks.riot.block import RiotApi
from blocks.riot.errors import RiotError, RiotKeyError, RiotUnavailableError
from tasks.foundation.core.columns import utc_now
from tasks.foundation.retries import MAINTENANCE
from tasks.league.api import RiotKeyMissingError, riot_api
from tasks.league.core.health import OVERDUE, asked_platform, backlog, syncs
from tasks.league.core.tables import DOMAIN, FetchState, LeagueTable

#: Where players of nobody's choosing are.
_PLATFORM = "na1"
#: The API is retried for so long; a worker is not to be kept for the 15 minutes that a sync would wait.
_PATIENCE_SECONDS = 20.0
#: The longest window of a development key, and a little more: by then the request has had its turn.
_TURN_SECONDS = 180.0
#: A bucket blocked for longer was not blocked by a passing 429.
_BLOCKED_SECONDS = 300.0
_DATABASES = {DOMAIN: LeagueTable.metadata, "rates": RateTable.metadata}


class HealthFinding(BaseModel):
    """One thing that was looked at."""

    model_config = ConfigDict(frozen=True)

    name: str
    ok: bool
    what: str
    #: Empty where nothing is.
    what_to_do: str = ""


class HealthReport(BaseModel):
    """Everything that was looked at."""

    model_config = ConfigDict(frozen=True)

    findings: tuple[HealthFinding, ...]

    @property
    def wrong(self) -> list[HealthFinding]:
        """What is not as it should be."""
        return [finding for finding in self.findings if not finding.ok]


@MAINTENANCE.task
async def health_check() -> HealthReport:
    """Look at databases, key, limits, backlog and syncs. What is wrong is told, and is no error here.

    What cannot be looked at because something else is wrong is left out: without a database there is no backlog.
    """
    findings = await asyncio.to_thread(lambda: [finding for domain in _DATABASES for finding in _database(domain)])
    broken = {finding.name.partition(" ")[0] for finding in findings if not finding.ok}
    limiter, ledger = "rates" not in broken, DOMAIN not in broken
    platform = await asyncio.to_thread(_platform) if ledger else _PLATFORM
    try:
        api = await riot_api()
    except RiotKeyMissingError as error:
        findings.append(_wrong("key", "there is none", str(error)))
    except ValidationError:
        # Its text would tell how the key looks.
        findings.append(_wrong("key", "no key can look so", "copy it again from the developer portal"))
    else:
        if limiter:
            findings.append(await _key(api, platform))
            findings.append(await asyncio.to_thread(_limits, api))
    if ledger:
        findings += await asyncio.to_thread(_ledger)
    return HealthReport(findings=tuple(findings))


def _fine(name: str, what: str) -> HealthFinding:
    return HealthFinding(name=name, ok=True, what=what)


def _wrong(name: str, what: str, what_to_do: str) -> HealthFinding:
    return HealthFinding(name=name, ok=False, what=what, what_to_do=what_to_do)


def _database(domain: str) -> Iterator[HealthFinding]:
    name = f"{domain} database"
    try:
        check_integrity(domain)
        for table in _DATABASES[domain].sorted_tables:
            with session(domain, read_only=True) as opened:
                opened.connection().execute(select(*table.columns).limit(1)).all()
    except LedgerOutdatedError as error:
        yield _wrong(name, f"it is older than this version of quintet: {error}", "run `quintet apply`")
    except LedgerError as error:
        yield _wrong(name, str(error), "see the text on the left, then look again")
    else:
        yield _fine(name, "answers, is whole, and has all tables and columns")


def _platform() -> str:
    with session(DOMAIN, read_only=True) as opened:
        return asked_platform(opened) or _PLATFORM


async def _key(api: RiotApi, platform: str) -> HealthFinding:
    try:
        async with asyncio.timeout(_TURN_SECONDS), api.client(patience_seconds=_PATIENCE_SECONDS) as client:
            await client.platform_status(platform)
    except RiotKeyError as error:
        return _wrong(
            "key",
            f"Riot refuses it ({error.status})",
            "get a valid one from the developer portal (development keys end after 24 hours), set it, restart workers",
        )
    except RiotUnavailableError as error:
        return _wrong("key", f"Riot gives no answer: {error}", "wait; if it lasts, see Riot's own status page")
    except TimeoutError:
        return _wrong(
            "key", f"no turn to ask within {_TURN_SECONDS:g} s: its limits are used up", "see the limits below"
        )
    except (RiotError, LedgerError) as error:
        return _wrong("key", f"it cannot be told whether it is valid: {error}", "see the text on the left")
    return _fine("key", f"valid: {platform} answers")


def _limits(api: RiotApi) -> HealthFinding:
    try:
        buckets = read_rates(api.fingerprint)
    except LedgerError as error:
        return _wrong("limits", str(error), "see the text on the left")
    blocked = [bucket for bucket in buckets if bucket.blocked_seconds > 0]
    in_flight = sum(bucket.in_flight for bucket in buckets if bucket.method is None)
    what = f"{len(buckets)} known, {in_flight} requests in flight, {len(blocked)} blocked by a 429"
    if any(bucket.blocked_seconds > _BLOCKED_SECONDS for bucket in blocked):
        return _wrong(
            "limits",
            f"{what}: {', '.join(map(_blocked, blocked))}",
            "stop other programs that use this key; `quintet league limits` shows when it goes on",
        )
    return _fine("limits", f"{what}: {', '.join(map(_blocked, blocked))}" if blocked else what)


def _blocked(bucket: BucketUse) -> str:
    return f"{bucket.method or 'application'} on {bucket.route} for {bucket.blocked_seconds:.0f} s more"


def _ledger() -> list[HealthFinding]:
    now = utc_now()
    with session(DOMAIN, read_only=True) as opened:
        left, synced = backlog(opened, now), syncs(opened, now)
    states = {state: sum(kind[state] for kind in left.states.values()) for state in FetchState}
    what = ", ".join(f"{number} {state.lower()}" for state, number in states.items())
    overdue = timedelta() if left.oldest_due is None else now - left.oldest_due
    if overdue > OVERDUE:
        findings = [
            _wrong("backlog", f"{what}; due since {_span(overdue)}", "run league-retry-failed, and schedule it")
        ]
    else:
        findings = [_fine("backlog", what)]
    ago = "never synced" if synced.oldest is None else f"the longest ago {_span(now - synced.oldest)} ago"
    players = f"{synced.tracked} tracked, {ago}" if synced.tracked else "none tracked"
    if synced.endless:
        shown = ", ".join(puuid[:8] for puuid in synced.endless[:5])
        findings.append(
            _wrong(
                "players",
                f"{players}; {len(synced.endless)} syncs began long ago and never ended ({shown})",
                "run league-sync-player or league-recover-player for them again",
            )
        )
    else:
        findings.append(_fine("players", players))
    return findings


def _span(time: timedelta) -> str:
    hours = time.total_seconds() / 3600
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} hours"
