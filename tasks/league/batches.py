"""Fetches many matches and timelines at once and stores each as it comes: what syncs, recoveries and retries share.

What becomes of each item is a row of the ledger, written in the transaction that stores it. A batch that is killed,
stopped by an error or cancelled leaves the rest PENDING, for whoever comes next.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict
from sqlmodel import Session

from blocks.riot.client import RiotClient
from blocks.riot.errors import (
    RiotAnswerError,
    RiotError,
    RiotNotFoundError,
    RiotRequestError,
    RiotUnavailableError,
)
from blocks.riot.routes import regional_of_match
from blocks.settings import settings
from tasks.foundation.core.columns import utc_now
from tasks.league.core.participants import UnreadablePayloadError
from tasks.league.core.storing import store_match, store_timeline
from tasks.league.core.tables import FetchKind, FetchState
from tasks.league.outcomes import failed, missing
from tasks.league.steps import side_by_side
from tasks.league.writing import Writer

#: What to fetch: a match id, and whether the match or its timeline.
Item = tuple[str, FetchKind]
#: Called with every item when the ledger has its outcome.
Report = Callable[["Outcome"], Awaitable[None]]

#: So many items one after the other without an answer, on one route, are no fault of theirs: the API is away.
OUTAGE = 10
#: A result lists at most so many failures; the ledger has all.
LISTED_FAILURES = 200


class Failure(BaseModel):
    """An item that could not be fetched or read, and why."""

    model_config = ConfigDict(frozen=True)

    match_id: str
    kind: FetchKind
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What became of one item."""

    match_id: str
    kind: FetchKind
    state: FetchState
    reason: str | None = None


class BatchResult(BaseModel):
    """What became of a batch. Items are STORED, MISSING (404, asked again later) or FAILED (tried again later)."""

    model_config = ConfigDict(frozen=True)

    matches_stored: int = 0
    timelines_stored: int = 0
    missing: int = 0
    failed: int = 0
    #: The first of those that failed.
    failures: tuple[Failure, ...] = ()

    def __add__(self, other: "BatchResult") -> "BatchResult":
        """Both together."""
        return BatchResult(
            matches_stored=self.matches_stored + other.matches_stored,
            timelines_stored=self.timelines_stored + other.timelines_stored,
            missing=self.missing + other.missing,
            failed=self.failed + other.failed,
            failures=(*self.failures, *other.failures)[:LISTED_FAILURES],
        )


@dataclass
class _Route:
    """The items of one regional route."""

    items: Iterator[Item]
    #: Items that got no answer since the last one that did.
    unanswered: list[tuple[Item, RiotUnavailableError]] = field(default_factory=list)
    answered: bool = False


async def fetch_items(client: RiotClient, items: Iterable[Item], report: Report | None = None) -> BatchResult:
    """Fetch matches and timelines and store them, each in the transaction that says so in the ledger.

    A 404 becomes MISSING, an answer that cannot be used FAILED with its reason, and so does an item that the API gives
    no answer for while it answers others. Bodies are stored as they come; in memory there are as many as requests.

    Args:
        client: an open client.
        items: what to fetch, in this order; those of different regional routes go side by side.
        report: called with every outcome.

    Raises:
        RiotKeyError: the key is refused; what was not fetched stays as it was.
        RiotUnavailableError: the API is away, or the route of the items; what was not fetched stays as it was.
        LedgerError: the database cannot be used, as where its disk is full.
        OperationalError: same, where the database's own words say it best.
    """
    by_route: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_route[_route_of(item[0])].append(item)
    batch = _Batch(client, report)
    async with Writer() as batch.writer:
        async with side_by_side() as group:
            for listed in by_route.values():
                route = _Route(iter(listed))
                batch.routes.append(route)
                # One body each, so this also bounds memory; the client bounds the requests of all batches.
                for _ in range(min(len(listed), settings().league.requests_at_once)):
                    group.create_task(batch.work(route))
        for route in batch.routes:
            await batch.settle(route)
    return batch.result


def _route_of(match_id: str) -> str:
    try:
        return regional_of_match(match_id)
    except RiotRequestError:
        # Asked for all the same: the client's refusal becomes the item's reason.
        return ""


class _Batch:
    writer: Writer

    def __init__(self, client: RiotClient, report: Report | None) -> None:
        self.routes: list[_Route] = []
        self.result = BatchResult()
        self._client = client
        self._report = report

    async def work(self, route: _Route) -> None:
        for item in route.items:
            await self._fetch(route, item)

    async def _fetch(self, route: _Route, item: Item) -> None:
        match_id, kind = item
        try:
            answer = await (
                self._client.match(match_id) if kind is FetchKind.MATCH else self._client.timeline(match_id)
            )
        except RiotUnavailableError as error:
            route.unanswered.append((item, error))
            if len(route.unanswered) >= OUTAGE:
                raise
            return
        except RiotNotFoundError:
            await self._missing(item)
        except (RiotAnswerError, RiotRequestError) as error:
            await self._failed(item, error)
        else:
            await self._store(item, answer.body)
        route.answered = True
        await self.settle(route)

    async def settle(self, route: _Route) -> None:
        """Judge the items without an answer: their own fault where others got one, else the API's.

        Raises:
            RiotUnavailableError: no item of the route got an answer.
        """
        unanswered, route.unanswered = route.unanswered, []
        for item, error in unanswered:
            if not route.answered:
                raise error
            await self._failed(item, error)

    async def _store(self, item: Item, body: bytes) -> None:
        match_id, kind = item

        def store(opened: Session) -> None:
            if kind is FetchKind.MATCH:
                store_match(opened, body, match_id=match_id, now=utc_now())
            else:
                store_timeline(opened, body, match_id, now=utc_now())

        try:
            await self.writer.do(store)
        except UnreadablePayloadError as error:
            await self._failed(item, error)
        else:
            await self._done(Outcome(match_id, kind, FetchState.STORED))

    async def _missing(self, item: Item) -> None:
        await self.writer.do(lambda opened: missing(opened, *item))
        await self._done(Outcome(*item, FetchState.MISSING))

    async def _failed(self, item: Item, error: RiotError | UnreadablePayloadError) -> None:
        await self.writer.do(lambda opened: failed(opened, *item, error))
        await self._done(Outcome(*item, FetchState.FAILED, str(error)))

    async def _done(self, outcome: Outcome) -> None:
        one = {
            FetchState.MISSING: BatchResult(missing=1),
            FetchState.FAILED: BatchResult(
                failed=1,
                failures=(Failure(match_id=outcome.match_id, kind=outcome.kind, reason=outcome.reason or ""),),
            ),
        }.get(outcome.state)
        stored_match = outcome.kind is FetchKind.MATCH
        self.result += one or BatchResult(matches_stored=int(stored_match), timelines_stored=int(not stored_match))
        if self._report is not None:
            await self._report(outcome)
