"""The dump tells two ledgers apart by what the API said, and not by when it was asked."""

import json
from datetime import timedelta

from sqlmodel import col, update

from blocks.engine import session
from tasks.league.core import fetches, players
from tasks.league.core.dump import dump
from tasks.league.core.storing import store_match, store_timeline
from tasks.league.core.tables import LeagueTable, Participant
from tests.league.core.ledgers import NOW, empty_ledger, text_of_ledger
from tests.league.payloads import match_body, puuid, timeline_body


def _sync(days: int, ids: list[str]) -> None:
    now = NOW + timedelta(days=days)
    for match_id in ids:
        with session("league") as opened:
            store_match(opened, match_body(match_id), now=now)
            store_timeline(opened, timeline_body(match_id), match_id, now=now)
            players.upsert_player(opened, puuid=puuid(1), game_name="Me", tag_line="T", platform="na1", now=now)
            fetches.record_listing(opened, puuid(1), None, ids, listed_at=now)


def test_the_same_matches_in_another_order_at_another_time_are_the_same_text(league_ledger: str) -> None:
    _sync(0, ["NA1_1", "NA1_2"])
    first = text_of_ledger()
    empty_ledger()
    assert text_of_ledger() == "\n"
    _sync(9, ["NA1_2", "NA1_1"])
    assert text_of_ledger() == first
    named = {json.loads(line)[0] for line in first.splitlines()}
    assert named == set(LeagueTable.metadata.tables) - {"league_ranked_entry", "league_champion_mastery"}
    assert not [name for line in first.splitlines() for name in json.loads(line)[1] if name.endswith("_at")]
    with session("league") as opened:
        opened.connection().execute(update(Participant).where(col(Participant.participant_id) == 3).values(kills=99))
        assert dump(opened) != first
