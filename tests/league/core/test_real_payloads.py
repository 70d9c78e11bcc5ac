"""Every real match and timeline loads, and everybody's statistics are what the raw JSON says."""

import json
from datetime import UTC, datetime

from sqlmodel import func, select

from blocks.engine import session
from tasks.league.core import statistics
from tasks.league.core.dump import dump
from tasks.league.core.payloads import load
from tasks.league.core.storing import rederive_match, store_match, store_timeline
from tasks.league.core.tables import FetchKind, Match, Participant, Timeline
from tests.league.core.oracle import statistics_of, stored_statistics
from tests.league.payloads import REAL, needs_real

NOW = datetime(2026, 3, 1, tzinfo=UTC)

pytestmark = needs_real


def test_every_match_loads_and_everybodys_statistics_are_what_the_raw_json_says(league_ledger: str) -> None:
    bodies = [path.read_bytes() for path in sorted((REAL / "match").glob("*.json"))]
    assert bodies
    for body in bodies:
        with session("league") as opened:
            assert store_match(opened, body, now=NOW).created
    with session("league", read_only=True) as opened:
        assert stored_statistics(opened) == statistics_of(bodies)
        told = [json.loads(body) for body in bodies]
        assert opened.exec(select(func.count()).select_from(Match)).one() == len(bodies)
        assert opened.exec(select(func.count()).select_from(Participant)).one() == sum(
            len(match["info"]["participants"]) for match in told
        )
        for body, match in zip(bodies, told, strict=True):
            assert load(opened, match["metadata"]["matchId"], FetchKind.MATCH) == body
        before = dump(opened)
    with session("league") as opened:
        assert statistics.differences(opened) == []
        for match in told:
            assert not rederive_match(opened, match["metadata"]["matchId"]).created
        assert dump(opened) == before


def test_the_known_odd_ones_are_read_as_what_they_are(league_ledger: str) -> None:
    names = ("EUW1_6834713231", "JP1_391732436", "JP1_445141671", "JP1_457196409", "NA1_5018382378")
    for name in names:
        with session("league") as opened:
            store_match(opened, (REAL / f"match/{name}.json").read_bytes(), now=NOW)
    with session("league", read_only=True) as opened:
        empty, bots, arena, swarm, aborted = (opened.get_one(Match, name) for name in names)
        assert (empty.year, empty.game_start, empty.participant_count, empty.game_id) == (None, None, 0, 6834713231)
        assert bots.participant_count == 10
        of_bots = select(func.count()).select_from(Participant).where(Participant.puuid == "BOT")
        assert opened.exec(of_bots).one() == 5
        assert arena.participant_count == 16
        placements = opened.exec(select(Participant.placement).where(Participant.match_id == names[2])).all()
        assert sorted(place or 0 for place in placements) == sorted([*range(1, 9)] * 2)
        assert swarm.participant_count == 3
        assert (aborted.end_of_game_result, aborted.year, aborted.participant_count) == ("Abort_Unexpected", 2024, 10)


def test_every_timeline_loads_whether_or_not_its_match_is_there(league_ledger: str) -> None:
    bodies = {path.stem: path.read_bytes() for path in sorted((REAL / "timeline").glob("*.json"))}
    assert bodies
    for match_id, body in bodies.items():
        with session("league") as opened:
            assert store_timeline(opened, body, match_id, now=NOW).created
    with session("league", read_only=True) as opened:
        for match_id, body in bodies.items():
            info, row = json.loads(body)["info"], opened.get_one(Timeline, match_id)
            told = (info["frameInterval"], len(info["frames"]), sum(len(frame["events"]) for frame in info["frames"]))
            assert (row.frame_interval, row.frame_count, row.event_count) == told
            assert load(opened, match_id, FetchKind.TIMELINE) == body
