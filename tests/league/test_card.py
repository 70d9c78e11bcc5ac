"""The player card and the table of failures."""

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from sqlalchemy import event

from blocks.engine import engine, session
from tasks.foundation.core.escaping import printable
from tasks.league import cards
from tasks.league.core import card_sections, fetches, players
from tasks.league.core.card import ROLLING_GAMES, UnknownPlayerError, player_card, rolling_kda, streak, window
from tasks.league.core.card_model import Game as CardGame
from tasks.league.core.card_model import PlayerCard, Standing
from tasks.league.core.card_sections import markdown, remarks, sections, summary
from tasks.league.core.plots import kda_plot, win_rate_plot
from tasks.league.core.queues import QUEUES, queue_name
from tasks.league.core.storing import remove_match, store_match
from tasks.league.core.tables import ChampionMastery, FetchKind, RankedEntry
from tests.league.made_games import CHAMPIONS, Game, Player, day

NOW = datetime(2025, 6, 1, tzinfo=UTC)
ME, OTHER = "me-puuid-0001", "other-puuid-0002"
QUEUE_LIST = Path(__file__).parents[2] / "../shared/data/riot/queues.json"


def store(games: Iterable[Game]) -> None:
    for game in games:
        with session("league") as opened:
            store_match(opened, game.body(), now=NOW)


def card_of(puuid: str = ME, year: int | None = None) -> PlayerCard:
    with session("league", read_only=True) as opened:
        return player_card(opened, puuid, year)


def some_games(count: int, seed: int = 1) -> list[Game]:
    rng = random.Random(seed)
    games = []
    for number in range(count):
        players = [
            Player(
                puuid,
                champion_id=rng.choice(list(CHAMPIONS)),
                win=rng.random() < 0.5,
                kills=rng.randint(0, 9),
                deaths=rng.randint(0, 9),
                assists=rng.randint(0, 9),
            )
            for puuid in (ME, OTHER, "BOT", "BOT")
        ]
        platform = rng.choice(["NA1", "EUW1"])
        start = day(rng.randint(1, 1000), 2023) if number % 10 else None
        games.append(Game(f"{platform}_{number}", start, players, rng.choice([420, 450, 1700, 77777])))
    return games


@contextmanager
def statements() -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(engine("league"), "before_cursor_execute", note)
    yield seen
    event.remove(engine("league"), "before_cursor_execute", note)


@pytest.mark.parametrize("year", [None, 2024])
def test_the_numbers_are_those_of_a_recount(league_ledger: str, year: int | None) -> None:
    games = some_games(40)
    store(games)
    card = card_of(year=year)

    played = [(game, game.players[0]) for game in games if game.start and year in (None, game.start.year)]
    played.sort(key=lambda pair: (pair[0].start, pair[0].match_id))
    assert card.total.games == len(played) > 5
    assert card.total.wins == sum(player.win for _, player in played)
    champions, queues = Counter(p.champion_id for _, p in played), Counter(game.queue_id for game, _ in played)
    assert {row.name: row.games for row in card.champions} == {CHAMPIONS[key]: n for key, n in champions.items()}
    assert {row.name: row.games for row in card.queues} == {queue_name(key): n for key, n in queues.items()}
    assert [row.games for row in card.champions] == sorted(champions.values(), reverse=True)
    for row in card.champions:
        mine = [player for _, player in played if CHAMPIONS[player.champion_id] == row.name]
        k, d, a = (sum(getattr(player, name) for player in mine) for name in ("kills", "deaths", "assists"))
        assert (row.kills, row.deaths, row.assists) == (k, d, a)
        assert row.win_rate == pytest.approx(100 * sum(player.win for player in mine) / len(mine))
        assert row.kda == pytest.approx((k + a) / (d or 1))
    years = Counter((game.start.year, game.match_id.split("_")[0].lower()) for game, _ in played if game.start)
    assert {(row.year, row.platform): row.games for row in card.years} == years
    assert [row.year for row in card.years] == sorted((row.year for row in card.years), reverse=True)
    assert [game.match_id for game in card.last_games] == [game.match_id for game, _ in played[:-11:-1]]
    last = played[-ROLLING_GAMES:]
    k, d, a = (sum(getattr(player, name) for _, player in last) for name in ("kills", "deaths", "assists"))
    assert card.kda_over_time[-1].kda == pytest.approx((k + a) / (d or 1))
    assert card.kda_over_time[-1].at == played[-1][0].start
    assert [point.at for point in card.kda_over_time] == [game.start for game, _ in played[4:]]


def test_a_removed_match_leaves_the_card(league_ledger: str) -> None:
    store(games := [Game(f"NA1_{n}", day(n), [Player(ME)]) for n in range(1, 4)])
    with session("league") as opened:
        remove_match(opened, games[2].match_id)
    card = card_of()
    assert card.total.games == 2
    assert [game.match_id for game in card.last_games] == ["NA1_2", "NA1_1"]


def test_as_many_statements_for_many_games_as_for_one(league_ledger: str) -> None:
    store([Game("NA1_1", day(1), [Player(ME)])])
    with statements() as few:
        card_of()
    store([Game(f"NA1_{n}", day(n), [Player(ME, n % 7)]) for n in range(2, 40)])
    with statements() as many:
        card_of()
    assert len(many) == len(few) < 12


def test_header_ranks_and_masteries(league_ledger: str) -> None:
    with session("league") as opened:
        players.upsert_player(
            opened, puuid=ME, game_name="Blue Kitten", tag_line="NA1", platform="na1", now=NOW, summoner_level=321
        )
        entry: dict[str, Any] = dict(puuid=ME, veteran=False, fresh_blood=False, inactive=False)
        solo: dict[str, Any] = dict(
            queue_type="RANKED_SOLO_5x5", tier="EMERALD", rank="II", league_points=45, wins=30, losses=20
        )
        flex: dict[str, Any] = dict(
            queue_type="RANKED_FLEX_SR", tier="MASTER", rank="I", league_points=1, wins=0, losses=0
        )
        players.replace_ranked_entries(
            opened, ME, [RankedEntry(**entry, **solo, hot_streak=True), RankedEntry(**entry, **flex, hot_streak=False)]
        )
        rows = [
            ChampionMastery(puuid=ME, champion_id=n, champion_level=n, champion_points=n * 1000) for n in range(1, 9)
        ]
        players.replace_masteries(opened, ME, rows)
        players.mark_synced(opened, ME, now=NOW)
    card = card_of()
    assert card.riot_id == "Blue Kitten#NA1"
    assert summary(card) == "NA1 · level 321"
    assert remarks(card) == ["Synced 2025-06-01 00:00Z.", "No games are stored."]
    ranked, mastery = sections(card)
    assert ranked.rows == [
        ("Ranked Solo/Duo", "Emerald II, hot streak", "45", "30", "20", "60.0 %"),
        ("Ranked Flex", "Master", "1", "0", "0", "0.0 %"),
    ]
    assert [row[0] for row in mastery.rows] == [f"champion {n}" for n in (8, 7, 6, 5, 4)]
    assert markdown(card, {}).startswith("# Blue Kitten\\#NA1\n\n**NA1 · level 321**\n")


def test_a_standing_without_a_tier_is_unranked() -> None:
    standing = Standing(queue_type="X", tier=None, rank=None, league_points=0, wins=0, losses=0, hot_streak=False)
    assert standing.title == "unranked"


def test_a_player_seen_in_another_ones_game_has_a_card(league_ledger: str) -> None:
    store([Game("KR_1", day(1), [Player(ME), Player(OTHER)])])
    card = card_of(OTHER)
    assert (card.riot_id, card.platform, card.total.games) == ("player other-pu", "kr", 1)
    assert "never synced" in remarks(card)[0]


def test_an_unknown_player_is_said_so_without_the_whole_puuid(league_ledger: str) -> None:
    with pytest.raises(UnknownPlayerError, match=r"no player of puuid abcdefgh\.\.\.$"):
        card_of("abcdefghijklmnop")


def test_masteries_have_the_names_of_other_years_games(league_ledger: str) -> None:
    store([Game("NA1_1", day(1, 2022), [Player(ME, 238)]), Game("NA1_2", day(1, 2024), [Player(ME, 103)])])
    with session("league") as opened:
        mastery = ChampionMastery(puuid=ME, champion_id=238, champion_level=7, champion_points=5)
        players.replace_masteries(opened, ME, [mastery])
    card = card_of(year=2024)
    assert [row.champion for row in card.masteries] == ["Zed"]
    assert [row.name for row in card.champions] == ["Ahri"]


def test_the_newest_name_of_a_champion_counts_and_unknown_ones_have_their_number(league_ledger: str) -> None:
    old, new = (Player(ME, 62, champion_name=name) for name in ("MonkeyKing", "Wukong"))
    store([Game("NA1_1", day(1), [old]), Game("NA1_2", day(2), [new]), Game("NA1_3", day(3), [Player(ME, 9999)])])
    assert {row.name for row in card_of().champions} == {"Wukong", "champion 9999"}


def made(results: str) -> list[CardGame]:
    """Games by their results, oldest first: w, l, and r for a remake."""
    return [
        CardGame(
            match_id=f"NA1_{n}", started=day(n + 1), queue_id=420, champion_id=1, champion="Annie", win=result == "w",
            kills=1, deaths=0, assists=1, placement=None, remake=result == "r", seconds=60,
        )
        for n, result in enumerate(results)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("results", "count"), [("", 0), ("w", 1), ("wl", -1), ("wlll", -3), ("lww", 2), ("lwrwr", 2), ("rr", 0)]
)
def test_a_streak_ends_with_another_result_and_not_with_a_remake(results: str, count: int) -> None:
    assert streak(made(results)) == count


@given(st.lists(st.tuples(*[st.integers(0, 20)] * 3), max_size=60))
def test_rolling_kda_is_that_of_each_window(numbers: list[tuple[int, int, int]]) -> None:
    games = [
        game.model_copy(update=dict(zip(("kills", "deaths", "assists"), three, strict=True)))
        for game, three in zip(made("w" * len(numbers)), numbers, strict=True)
    ]
    first = max(min(5, len(games)) - 1, 0)
    wanted = []
    for end in range(first, len(games)):
        window = numbers[max(0, end + 1 - ROLLING_GAMES) : end + 1]
        k, d, a = (sum(column) for column in zip(*window, strict=True))
        wanted.append((k + a) / (d or 1))
    assert [point.kda for point in rolling_kda(games, ROLLING_GAMES)] == wanted


def test_results_are_told_in_words() -> None:
    won, lost, remake = made("wlr")
    assert [card_sections.result(game) for game in (won, lost, remake)] == ["won", "lost", "remake"]
    assert card_sections.result(won.model_copy(update={"placement": 2})) == "won, place 2"


@pytest.mark.parametrize("name", ["a|b", "![x](data:image/png;base64,AA)", "<img src=x>", "x\n# y", "\u202eevil", "`"])
async def test_hostile_names_are_only_shown(league_ledger: str, name: str) -> None:
    player = Player(ME, 5, name=name, tag="[t](u)|", champion_name=name)
    store([Game("NA1_1", day(1), [player])])
    _, page = cards._drawn(ME, None)
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(page)
    assert not {token.type for token in tokens} & {"html_block", "code_block", "fence", "bullet_list_open", "hr"}
    assert [token.tag for token in tokens].count("h1") == 2, "one, opened and closed"
    inside = Counter(child.type for token in tokens for child in token.children or [])
    assert set(inside) == {"text", "image", "strong_open", "strong_close"}
    assert inside["image"] == page.count("](data:image/png;base64,") == 2
    seen = "".join(child.content for token in tokens for child in token.children or [])
    assert f"{printable(name)}#[t](u)|" in seen.replace("\u2060", "")


async def test_the_task_gives_the_card_and_leaves_text_and_pictures(
    league_ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[tuple[str, str]] = []

    async def note(key: str, text: str, description: str | None = None) -> None:
        left.append((key, text))

    monkeypatch.setattr(cards, "markdown", note)
    store(some_games(20))
    card = await cards.show_player_card.fn(ME, 2024)
    assert card == card_of(year=2024)
    ((key, text),) = left
    assert key == "league-player-card"
    assert "## Champions" in text and "## KDA over time" in text
    assert text.count("data:image/png;base64,") == 2
    assert len(text) < 200_000


async def test_a_player_without_games_has_a_card_without_pictures(league_ledger: str) -> None:
    with session("league") as opened:
        players.upsert_player(opened, puuid=ME, game_name="Mole", tag_line="EUW", platform="euw1", now=NOW)
    card, page = cards._drawn(ME, 2024)
    assert "No games are stored for 2024" in page
    assert "data:" not in page and "##" not in page
    assert [len(plot(card)) > 1000 for plot in (win_rate_plot, kda_plot)] == [True, True]


def fail(match_id: str, kind: FetchKind, reason: str | None = None) -> None:
    waits: dict[str, Any] = dict(now=NOW, base_seconds=3600, cap_seconds=7200, uniform=lambda low, high: high)
    with session("league") as opened:
        if reason is None:
            fetches.mark_missing(opened, match_id, kind, **waits)
        else:
            fetches.mark_failed(opened, match_id, kind, reason=reason, **waits)


@pytest.fixture
def failed(league_ledger: str) -> str:
    """Three of four listed fetches of one player that are no success, and one of somebody else."""
    with session("league") as opened:
        players.upsert_player(opened, puuid=ME, game_name="Mole", tag_line="EUW", platform="euw1", now=NOW)
        fetches.record_listing(opened, ME, None, ["EUW1_1", "EUW1_2"], listed_at=NOW)
    fail("EUW1_1", FetchKind.MATCH)
    fail("EUW1_1", FetchKind.TIMELINE, "info.frames: Field required")
    fail("EUW1_2", FetchKind.MATCH)
    fail("KR_9", FetchKind.MATCH, "somebody else's")
    return ME


async def test_failures_say_why_and_when_next(failed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[tuple[str, list[dict[str, str]], str]] = []

    async def note(key: str, rows: list[dict[str, str]], description: str) -> None:
        left.append((key, rows, description))

    monkeypatch.setattr(cards, "table", note)
    assert await cards.show_failures.fn(failed) == {"failed": 1, "missing": 2}
    assert await cards.show_failures.fn() == {"failed": 2, "missing": 2}
    (key, rows, description), (_, everything, _) = left
    assert key == "league-failures"
    assert description == "1 timeline failed, 2 matches missing at Riot's (404)."
    assert [(row["match"], row["kind"], row["state"]) for row in rows] == [
        ("EUW1_1", "timeline", "failed"),
        ("EUW1_2", "match", "missing"),
        ("EUW1_1", "match", "missing"),
    ]
    assert rows[0]["reason"] == "info.frames: Field required"
    assert all(row["next try"] > f"{NOW:%Y-%m-%d %H:%M}Z" and row["tries"] == "1" for row in rows)
    assert len(everything) == 4


async def test_a_player_without_failures_is_said_so(league_ledger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[Any] = []

    async def note(*what: Any) -> None:
        left.append(what)

    monkeypatch.setattr(cards, "table", note)
    assert await cards.show_failures.fn(ME) == {}
    assert left == [("league-failures", [], "Nothing failed, and nothing is missing.")]


def test_the_card_says_what_is_not_stored(failed: str) -> None:
    card = card_of(failed)
    assert card.unstored == {"PENDING": 1, "FAILED": 1, "MISSING": 2}
    assert "1 pending, 1 failed, 2 missing" in remarks(card)[-1]


@pytest.mark.skipif(not QUEUE_LIST.exists(), reason="needs ../shared/data/riot")
def test_all_named_queues_are_in_riots_list() -> None:
    assert set(QUEUES) <= {row["queueId"] for row in json.loads(QUEUE_LIST.read_text())}


def test_an_unknown_queue_has_its_number() -> None:
    assert (queue_name(420), queue_name(1234)) == ("Ranked Solo/Duo", "queue 1234")


def test_a_plot_of_many_games_stays_small(league_ledger: str) -> None:
    games = [
        game.model_copy(update={"started": NOW + timedelta(hours=n), "kills": n * 7 % 13, "deaths": n % 5})
        for n, game in enumerate(made("wl") * 2500)
    ]
    store([Game("NA1_1", day(1), [Player(ME)])])
    points = rolling_kda(games, window(games))
    card = card_of().model_copy(update={"kda_over_time": points, "rolling_games": window(games)})
    assert (window(games), window(games[:30])) == (100, 20)
    assert len(kda_plot(card)) < 60_000
