"""`quintet league` on a real ledger, with a real Prefect server and the sandbox of the Riot API."""

import asyncio
import json
import logging
import subprocess
import sys
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.settings import PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner

from blocks.engine import engine, session
from blocks.rate_ledger import RateLedger
from blocks.rate_tables import RateTable
from blocks.rate_window import AnswerLimits, parse_windows
from blocks.riot.errors import UnknownRouteError
from blocks.settings import settings
from deployments.commands import league
from deployments.commands.league import split_riot_id
from deployments.errors import ExpectedError, ServerUnreachableError, expected
from deployments.sandbox.riot.options import SandboxOptions
from deployments.sandbox.riot.server import running_sandbox
from flows.submission import MissingLimitError
from tasks.league.account import PlayerNotFoundError
from tasks.league.api import RiotKeyMissingError
from tasks.league.core import fetches, players
from tasks.league.core.storing import store_match
from tasks.league.core.tables import FetchKind, LeagueTable
from tests.league.made_games import Game, Player, day
from tests.servers import free_port

NOW = datetime(2025, 6, 1, tzinfo=UTC)
ME = "me-puuid-0001"
runner = CliRunner(env={"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"})


def call(*arguments: str) -> str:
    """What the command printed; its error is raised."""
    result = runner.invoke(league.app, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.stdout


@pytest.fixture
def kitten(league_ledger: str) -> str:
    """A player of three matches, one of which is missing; gives the Riot ID."""
    with session("league") as opened:
        players.upsert_player(
            opened, puuid=ME, game_name="Blue Kitten", tag_line="NA1", platform="na1", now=NOW, summoner_level=77
        )
        fetches.record_listing(opened, ME, None, ["NA1_1", "NA1_2", "NA1_3"], listed_at=NOW)
        for number, year in ((1, 2023), (2, 2024)):
            game = Game(f"NA1_{number}", day(5, year), [Player(ME, win=number == 2, kills=number)])
            store_match(opened, game.body(), now=NOW)
        waits: dict[str, Any] = dict(now=NOW, base_seconds=3600, cap_seconds=7200, uniform=lambda low, high: high)
        fetches.mark_missing(opened, "NA1_3", FetchKind.MATCH, **waits)
        fetches.mark_failed(opened, "NA1_2", FetchKind.TIMELINE, reason="no [bold]frames[/]\x1b[31m", **waits)
    return "Blue Kitten#NA1"


def test_help_is_quick_and_names_every_command() -> None:
    script = (
        "import sys\n"
        "sys.argv = ['quintet', 'league', '--help']\n"
        "from deployments.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "heavy = ('prefect', 'sqlalchemy', 'matplotlib', 'httpx')\n"
        "print([module for module in heavy if module in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
    for command in ("player", "failures", "limits", "sync"):
        assert f" {command} " in answer.stdout


@pytest.mark.parametrize(
    ("text", "parts"), [("Kitten#NA1", ("Kitten", "NA1")), (" Blue Kitten # 007 ", ("Blue Kitten", "007"))]
)
def test_a_riot_id_is_split(text: str, parts: tuple[str, str]) -> None:
    assert split_riot_id(text) == parts


@pytest.mark.parametrize(
    "text", ["", "Kitten", "#NA1", "Kitten#", "a#b#c", " # ", "K\x1b[31m\n#NA1", "K" * 500 + "#NA1"]
)
def test_what_is_no_riot_id_is_said_so(text: str) -> None:
    with pytest.raises(ExpectedError, match="a Riot ID is a name, # and a tag") as raised:
        split_riot_id(text)
    assert str(raised.value).isprintable() and len(str(raised.value)) < 200


def test_the_card_is_shown_and_asks_nobody(kitten: str) -> None:
    output = call("player", "blue kitten#na1")
    assert output.startswith("Blue Kitten#NA1\nNA1 · level 77 · 2 games · 50.0 % won")
    assert "2024-01-05 12:00Z" in output and "2023-01-05 12:00Z" in output
    only = call("player", kitten, "--year", "2024")
    assert "1 game in 2024 · 100.0 % won" in only and "2023-01-05" not in only


def test_the_card_as_json(kitten: str) -> None:
    card = json.loads(call("player", kitten, "--json"))
    assert (card["puuid"], card["riot_id"], card["total"]["games"]) == (ME, kitten, 2)
    assert [(row["name"], row["win_rate"]) for row in card["champions"]] == [("Ahri", 50.0)]


def test_an_unknown_player_and_what_to_do(kitten: str) -> None:
    with pytest.raises(ExpectedError) as raised:
        call("player", "Blue Kitten#EUW")
    assert str(raised.value) == (
        "the league ledger has no player Blue Kitten#EUW. It has Blue Kitten#NA1. "
        "`quintet league sync 'Blue Kitten#EUW' --platform ...` fetches them."
    )


def test_failures_are_listed(kitten: str) -> None:
    output = call("failures", "--player", kitten)
    assert "NA1_3" in output and "missing" in output and "2025-06-01" in output
    # What an answer said is shown as it is, and commands no terminal.
    assert "no [bold]frames[/][31m" in output
    assert output.splitlines()[-1].strip() == "1 timeline failed, 1 match missing at Riot's (404)"
    assert "the first 1 are shown" in call("failures", "--limit", "1")
    rows = json.loads(call("failures", "--json"))
    assert [(row["match_id"], row["kind"], row["state"]) for row in rows] == [
        ("NA1_2", "TIMELINE", "FAILED"),
        ("NA1_3", "MATCH", "MISSING"),
    ]


def test_no_failures(league_ledger: str) -> None:
    assert call("failures") == "nothing failed, and nothing is missing\n"
    assert json.loads(call("failures", "--json")) == []


async def _use(key: str) -> None:
    async with RateLedger(key, parse_windows("20:1,100:120")) as ledger:
        permit = await ledger.acquire(route="americas", method="match-v5.getMatch")
        permit.finished(
            AnswerLimits(application=parse_windows("20:1,100:120"), blocked_seconds=90, blocked_scope="method")
        )


def test_limits_show_each_bucket(rates: str) -> None:
    assert "nothing was asked of the Riot API yet" in call("limits")
    asyncio.run(_use("a" * 16))
    output = call("limits")
    assert "americas" in output and "application" in output and "match-v5.getMatch" in output
    assert "of 20 in 1 s " in output and "1 of 100 in 120 s" in output and "not known yet" in output
    buckets = json.loads(call("limits", "--json"))
    application = next(bucket for bucket in buckets if bucket["method"] is None)
    assert {"limit": 100, "seconds": 120.0, "used": 1} in application["windows"]
    blocked = {bucket["method"]: bucket["blocked_seconds"] > 0 for bucket in buckets}
    assert blocked == {None: False, "match-v5.getMatch": True}
    assert "aaaaaaaa" not in output
    asyncio.run(_use("b" * 16))
    assert "aaaaaaaa" in call("limits") and "bbbbbbbb" in call("limits")


def test_an_unknown_platform_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownRouteError, match=r"no platform is called .*xx9.*na1") as raised:
        call("sync", "Kitten#NA1", "--platform", "xx9")
    assert expected(raised.value) == (str(raised.value), 1)


def test_a_year_before_the_game_is_refused() -> None:
    with pytest.raises(ExpectedError, match="1999 is no year of League of Legends"):
        call("sync", "Kitten#NA1", "--year", "1999")


@pytest.mark.parametrize("here", [(), ("--here",)])
def test_sync_without_a_server_says_how_to_start_one(here: tuple[str, ...], home: Path) -> None:
    with (
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}),
        pytest.raises(ServerUnreachableError, match="quintet up"),
    ):
        call("sync", "Kitten#NA1", *here)


def test_sync_starts_the_deployment_and_says_how_to_follow(
    prefect_api: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = f"league-sync-{uuid4().hex[:8]}"
    monkeypatch.setattr(league, "DEPLOYMENT", f"{flow}/on-demand")
    with pytest.raises(ExpectedError, match="run `quintet apply`"):
        call("sync", "Blue Kitten#EUW", "--platform", "EUW1", "--year", "2024")
    with get_client(sync_client=True) as client:
        client.create_deployment(flow_id=client.create_flow_from_name(flow), name="on-demand")
    told = call("sync", "Blue Kitten#EUW", "--platform", "EUW1", "--year", "2024")
    run_id = told.splitlines()[0]
    assert f"quintet status {run_id}" in told
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(run_id))
    assert run.parameters == {
        "game_name": "Blue Kitten",
        "tag_line": "EUW",
        "platform": "euw1",
        "routing": "europe",
        "year": 2024,
    }
    assert json.loads(call("sync", "Blue Kitten#EUW", "--json"))["deployment"] == f"{flow}/on-demand"


def test_sync_here_shows_the_card_of_what_riot_has(
    prefect_api: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    LeagueTable.metadata.create_all(engine("league"))
    RateTable.metadata.create_all(engine("rates"))
    options = SandboxOptions(
        players=40, matches=5, edge_cases=False, missing_match_rate=0, missing_timeline_rate=0, late_match_rate=0,
        timeline_frames=2, app=((100, 1),),
    )  # fmt: skip
    with running_sandbox(options) as sandbox:
        riot_id = f"{sandbox.player['game_name']}#{sandbox.player['tag_line']}"
        arguments = ("sync", riot_id, "--platform", sandbox.player["platform"], "--here", "--json")
        with pytest.raises(MissingLimitError, match="quintet apply") as raised:
            call(*arguments)
        assert expected(raised.value) is not None
        with get_client(sync_client=True) as client:
            client.create_global_concurrency_limit(
                GlobalConcurrencyLimitCreate(name="league-player-sync", limit=100, slot_decay_per_second=100)
            )
        with pytest.raises(RiotKeyMissingError) as missing:
            call(*arguments)
        assert expected(missing.value) is not None
        monkeypatch.setenv("QUINTET_LEAGUE__RIOT_API_KEY", sandbox.key)
        monkeypatch.setenv("QUINTET_LEAGUE__RIOT_BASE_URL", sandbox.base_url)
        settings.cache_clear()
        card = json.loads(call(*arguments).splitlines()[-1])
        terminal = StringIO()
        monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(terminal)])
        with pytest.raises(PlayerNotFoundError) as nobody:
            call("sync", "Nobody At All#XXX", "--here")
        assert expected(nobody.value) is not None
        assert "PlayerNotFoundError" in terminal.getvalue() and "Traceback" not in terminal.getvalue()
    assert (card["puuid"], card["total"]["games"]) == (sandbox.player["puuid"], 5)
    with get_client(sync_client=True) as client:
        keys = [ArtifactFilter(key=ArtifactFilterKey(any_=[key])) for key in ("league-player-card", "league-failures")]
        shown, failed = (client.read_artifacts(artifact_filter=key) for key in keys)
    assert str(shown[0].data).count("data:image/png;base64,") == 2
    assert (json.loads(str(failed[0].data)), failed[0].description) == ([], "Nothing failed, and nothing is missing.")
