"""The corpus: the same from the same seed, and with everything in it that there is at Riot."""

from collections import Counter
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

import orjson
import pytest

from deployments.sandbox.riot.corpus import Corpus
from deployments.sandbox.riot.corpus_calendar import EDGES, Outline
from deployments.sandbox.riot.corpus_players import IDLE, MAIN
from deployments.sandbox.riot.options import DEFAULT_KEY, REGION_OF, OptionError, SandboxOptions


@cache
def default_corpus() -> Corpus:
    return Corpus(SandboxOptions(timeline_frames=3))


@cache
def payloads(kind: str) -> list[dict[str, Any]]:
    """The main player's matches of a kind, oldest first."""
    corpus = default_corpus()
    outlines = [outline for outline in corpus.calendar.of(MAIN) if outline.kind == kind]
    return [orjson.loads(corpus.match(DEFAULT_KEY, outline).plain) for outline in reversed(outlines)]


def when(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%m-%d %H:%M:%S")


def everything(corpus: Corpus) -> list[bytes]:
    """All that is served of the newest matches, asked for from the oldest on."""
    newest = corpus.calendar.of(MAIN)[:15]
    return [
        body.gzipped
        for outline in reversed(newest)
        for body in (corpus.match(DEFAULT_KEY, outline), corpus.timeline(DEFAULT_KEY, outline))
    ]


def test_one_seed_makes_one_corpus_in_whatever_order_it_is_asked() -> None:
    one, two, other = (Corpus(SandboxOptions(seed=seed, matches=60, timeline_frames=3)) for seed in (5, 5, 6))
    for outline in two.calendar.of(MAIN):
        two.match(DEFAULT_KEY, outline)
    assert one.calendar.by_id == two.calendar.by_id
    assert everything(one) == everything(two)
    assert len(set(one.calendar.by_id) & set(other.calendar.by_id)) < 8, "only those with dates of their own"


@pytest.mark.parametrize("matches", [0, 1, 7, 30, 250])
def test_the_main_player_has_exactly_so_many_matches(matches: int) -> None:
    corpus = Corpus(SandboxOptions(matches=matches))
    mine = corpus.calendar.of(MAIN)
    assert len(mine) == len({outline.match_id for outline in mine}) == matches
    assert [outline.start for outline in mine] == sorted((outline.start for outline in mine), reverse=True)
    assert len({outline.start // 1000 for outline in corpus.calendar.by_id.values()}) == len(corpus.calendar.by_id)


def test_matches_spread_over_the_three_years_before_the_reference_date() -> None:
    corpus = Corpus(SandboxOptions(matches=300, edge_cases=False, reference_date=date(2024, 7, 1)))
    years = Counter(datetime.fromtimestamp(outline.start / 1000, UTC).year for outline in corpus.calendar.of(MAIN))
    assert set(years) == {2021, 2022, 2023, 2024}
    assert max(outline.start for outline in corpus.calendar.of(MAIN)) < 1_719_792_000_000


def test_everybody_lists_the_matches_they_took_part_in() -> None:
    corpus = default_corpus()
    for player in (MAIN, 2, 50, 151):
        listed = {outline.match_id for outline in corpus.calendar.of(player)}
        assert listed == {key for key, outline in corpus.calendar.by_id.items() if player in outline.roster}
    assert corpus.calendar.of(IDLE) == []


def test_all_edge_cases_are_there_once_and_few_matches_have_few_of_them() -> None:
    kinds = Counter(outline.kind for outline in default_corpus().calendar.of(MAIN))
    assert all(kinds[kind] == count for kind, count in Counter(EDGES).items())
    few = Counter(outline.kind for outline in Corpus(SandboxOptions(matches=12)).calendar.of(MAIN))
    assert {"arena", "bots", "empty", "twins"} <= set(few)
    none = Counter(outline.kind for outline in Corpus(SandboxOptions(matches=60, edge_cases=False)).calendar.of(MAIN))
    assert set(none) == {"solo", "flex", "draft", "blind", "quickplay", "aram"}


def test_wanted_kinds_are_the_newest_in_their_order() -> None:
    corpus = Corpus(SandboxOptions(matches=6, kinds=("swarm-duo", "aram", "custom")))
    assert [outline.kind for outline in corpus.calendar.of(MAIN)][:3] == ["swarm-duo", "aram", "custom"]
    for wrong in (("chess",), ("aram",) * 7):
        with pytest.raises(OptionError, match="kinds"):
            Corpus(SandboxOptions(matches=6, kinds=wrong))


def test_arena_has_eight_teams_of_two_of_which_four_win() -> None:
    match = payloads("arena")[0]["info"]
    assert (match["queueId"], match["gameMode"], len(match["participants"])) == (1700, "CHERRY", 16)
    places = {each["playerSubteamId"]: each["placement"] for each in match["participants"]}
    assert sorted(places.values()) == list(range(1, 9))
    assert all(each["win"] == (each["placement"] <= 4) for each in match["participants"])
    assert [each["participantId"] for each in match["participants"]] == list(range(1, 17))


@pytest.mark.parametrize(("kind", "players", "queue"), [("swarm-solo", 1, 1810), ("swarm-trio", 3, 1830)])
def test_swarm_has_one_team_of_up_to_three(kind: str, players: int, queue: int) -> None:
    match = payloads(kind)[0]["info"]
    assert (match["queueId"], len(match["participants"]), len(match["teams"])) == (queue, players, 1)


def test_bots_share_one_puuid_and_are_no_participants_of_the_metadata() -> None:
    match = payloads("bots")[0]
    puuids = [each["puuid"] for each in match["info"]["participants"]]
    assert puuids[5:] == ["BOT"] * 5
    assert match["metadata"]["participants"] == puuids[:5]
    assert match["info"]["queueId"] in (850, 890)


def test_an_aborted_game_may_be_whole_or_empty() -> None:
    whole, empty = payloads("aborted")[0]["info"], payloads("empty")[0]
    assert len(whole["participants"]) == 10
    assert {whole["endOfGameResult"], empty["info"]["endOfGameResult"]} <= {"Abort_Unexpected"}
    zero = {name: value for name, value in empty["info"].items() if name not in ("endOfGameResult", "gameEndTimestamp")}
    assert not any(zero.values())
    assert len(empty["metadata"]["participants"]) == 10
    outline = default_corpus().calendar.by_id[empty["metadata"]["matchId"]]
    timeline = orjson.loads(default_corpus().timeline(DEFAULT_KEY, outline).plain)
    assert (timeline["info"]["frameInterval"], timeline["info"]["participants"]) == (0, [])


def test_a_remake_is_short_and_says_so_of_everybody() -> None:
    match = payloads("remake")[0]["info"]
    assert match["gameDuration"] < 300
    assert all(each["gameEndedInEarlySurrender"] for each in match["participants"])


def test_old_payloads_have_milliseconds_and_old_names() -> None:
    oldest, old = payloads("old-milliseconds")[0]["info"], payloads("old-names")[0]["info"]
    assert "gameEndTimestamp" not in oldest
    assert oldest["gameDuration"] > 600_000
    assert oldest["gameVersion"].startswith("11.")
    assert "challenges" not in oldest["participants"][0]
    assert old["gameVersion"].startswith("12.")
    assert old["gameDuration"] < 3600
    for participant in (*oldest["participants"], *old["participants"]):
        assert participant["summonerName"]
        assert {"riotIdGameName", "riotIdTagline", "allInPings"}.isdisjoint(participant)


def test_games_around_new_year() -> None:
    old, new, over = (payloads(kind)[0]["info"] for kind in ("old-year", "new-year", "over-new-year"))
    assert when(old["gameStartTimestamp"]) == "12-31 23:59:30"
    assert when(new["gameStartTimestamp"]) == "01-01 00:00:30"
    assert (when(over["gameCreation"])[:5], when(over["gameStartTimestamp"])[:5]) == ("12-31", "01-01")


def test_two_players_of_one_name_in_one_match() -> None:
    names = [
        (each["riotIdGameName"], each["riotIdTagline"])
        for each in payloads("twins")[0]["info"]["participants"]
        if each.get("riotIdGameName") == "Twin Peak"
    ]
    assert sorted(names) == [("Twin Peak", "ONE"), ("Twin Peak", "TWO")]


def test_names_change_over_time() -> None:
    corpus = default_corpus()
    told: dict[str, set[str]] = {}
    for outline in corpus.calendar.of(MAIN):
        if outline.start >= 1_704_067_200_000 and outline.kind != "empty":
            for each in orjson.loads(corpus.match(DEFAULT_KEY, outline).plain)["info"]["participants"]:
                told.setdefault(each["puuid"], set()).add(each["riotIdGameName"])
    assert sum(len(names) > 1 for puuid, names in told.items() if puuid != "BOT") > 5


def test_matches_elsewhere_have_the_prefix_of_where_they_were_played() -> None:
    match = payloads("elsewhere")[0]
    assert match["metadata"]["matchId"].startswith("LA1_")
    assert match["info"]["platformId"] == "LA1"
    corpus = Corpus(SandboxOptions(matches=40, other_region_rate=0.3))
    regions = Counter(REGION_OF[outline.platform] for outline in corpus.calendar.of(MAIN))
    assert set(regions) == {"americas", "europe"}
    assert {outline.listed_on for outline in corpus.calendar.of(MAIN)} == {"americas"}


def test_other_platforms_have_players_and_matches() -> None:
    played = Counter(outline.platform for outline in default_corpus().calendar.by_id.values())
    assert {"na1", "euw1", "kr", "jp1", "oc1"} <= set(played)


@pytest.mark.parametrize("platform", ["euw1", "kr", "oc1"])
def test_the_main_player_may_live_anywhere(platform: str) -> None:
    outlines = Corpus(SandboxOptions(matches=60, platform=platform)).calendar.of(MAIN)
    assert {outline.listed_on for outline in outlines} == {REGION_OF[platform]}


def test_faults_are_one_each_at_least_and_none_where_none_are_wanted() -> None:
    def states(outlines: list[Outline]) -> Counter[tuple[str, str]]:
        return Counter((outline.match, outline.timeline) for outline in outlines)

    some = states(Corpus(SandboxOptions(matches=20)).calendar.of(MAIN))
    assert some == {("here", "here"): 17, ("missing", "here"): 1, ("here", "missing"): 1, ("late", "late"): 1}
    without = SandboxOptions(matches=40, missing_match_rate=0, missing_timeline_rate=0, late_match_rate=0)
    assert set(states(Corpus(without).calendar.of(MAIN))) == {("here", "here")}
    half = states(Corpus(SandboxOptions(matches=40, missing_match_rate=0.5)).calendar.of(MAIN))
    assert half["missing", "here"] == 20


def test_payloads_are_of_riots_size() -> None:
    corpus = Corpus(SandboxOptions(matches=40, kinds=("solo",) * 10))
    for outline in corpus.calendar.of(MAIN)[:10]:
        match, timeline = corpus.match(DEFAULT_KEY, outline), corpus.timeline(DEFAULT_KEY, outline)
        assert 50_000 < len(match.plain) < 80_000
        assert 180_000 < len(timeline.plain) < 700_000
        assert len(timeline.gzipped) < len(timeline.plain) / 4
