"""The corpus as a whole: players, matches, and their payloads under each key, made when first asked for."""

from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, time

import orjson

from deployments.sandbox.riot.corpus_calendar import DAY, YEARS, Calendar, Outline
from deployments.sandbox.riot.corpus_matches import match_payload
from deployments.sandbox.riot.corpus_players import make_players
from deployments.sandbox.riot.corpus_scores import Score, scores_of
from deployments.sandbox.riot.corpus_timelines import Encoded, join_gzip, timeline_payload
from deployments.sandbox.riot.options import SandboxOptions

#: Bytes of payloads that are kept; enough for who asks twice, and little beside what is tested.
CACHE = 32 * 1024 * 1024


class Corpus:
    """Everything that there is to be asked for; two of one seed are the same to the byte."""

    def __init__(self, options: SandboxOptions) -> None:
        self.options = options
        last = int(datetime.combine(options.reference_date, time(), UTC).timestamp()) * 1000
        first = last - YEARS * 365 * DAY
        self.players = make_players(options, first, last)
        self.calendar = Calendar(options, self.players, first, last)
        self._cache: OrderedDict[tuple[str, str, str], Encoded] = OrderedDict()
        self._cached = 0

    def scores(self, outline: Outline) -> list[Score]:
        """Everyone's line in a match."""
        return scores_of(self.options.seed, outline)

    def match(self, key: str, outline: Outline) -> Encoded:
        """A match as this key sees it."""

        def make() -> Encoded:
            payload = match_payload(
                outline,
                self.scores(outline),
                everyone=self.players.everyone,
                puuids=self.players.puuids(key),
                seed=self.options.seed,
            )
            return encoded(orjson.dumps(payload))

        return self._cached_or_made(("match", key, outline.match_id), make)

    def timeline(self, key: str, outline: Outline) -> Encoded:
        """A timeline as this key sees it."""

        def make() -> Encoded:
            puuids = self.players.puuids(key)
            return timeline_payload(outline, puuids=puuids, frames=self.options.timeline_frames)

        return self._cached_or_made(("timeline", key, outline.match_id), make)

    def _cached_or_made(self, name: tuple[str, str, str], make: Callable[[], Encoded]) -> Encoded:
        found = self._cache.get(name)
        if found is not None:
            self._cache.move_to_end(name)
            return found
        made = make()
        self._cache[name] = made
        self._cached += made.size
        while self._cached > CACHE:
            _name, dropped = self._cache.popitem(last=False)
            self._cached -= dropped.size
        return made


def encoded(plain: bytes) -> Encoded:
    """A body with its compressed form."""
    return Encoded(plain, join_gzip([(plain, None)]))
