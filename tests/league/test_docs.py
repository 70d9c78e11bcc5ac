"""docs/league.md names only what there is."""

import re
from pathlib import Path

import typer

import flows
from blocks.settings import Settings, setting_fields
from deployments.catalogue import read_catalogue
from deployments.catalogue.checks import load_flow
from deployments.commands import league
from tasks.league.core.tables import FetchState, LeagueTable

TEXT = (Path(flows.__file__).parent.parent / "docs" / "league.md").read_text()


def test_every_table_is_told_and_none_that_is_not_there() -> None:
    assert set(re.findall(r"`(league_\w+)`", TEXT)) == set(LeagueTable.metadata.tables)


def test_every_state_of_a_fetch_is_told() -> None:
    told = set(re.findall(r"^\| ([A-Z]+) \|", TEXT, re.MULTILINE))
    assert told == set(FetchState) - {FetchState.STORED}


def test_settings_are_called_as_they_are_set() -> None:
    known = {name for name, _ in setting_fields(Settings)}
    named = set(re.findall(r"QUINTET_LEAGUE__\w+", TEXT))
    named |= {f"QUINTET_LEAGUE__{name}" for name in re.findall(r"`\.\.\._(\w+)`", TEXT)}
    assert len(named) >= 6
    assert named <= known


def test_deployments_are_called_as_they_are_deployed() -> None:
    there = {f"{load_flow(raw['entrypoint']).name}/{raw['name']}" for raw in read_catalogue().raw}
    named = set(re.findall(r"league-[a-z-]+/[a-z-]+", TEXT))
    assert len(named) >= 6
    assert named <= there


def test_commands_and_their_options_are_there() -> None:
    group = typer.main.get_group(league.app)
    named = re.findall(r"quintet league ([a-z]+)([^\n#`]*)", TEXT)
    assert {name for name, _ in named} == set(group.commands)
    for name, rest in named:
        options = {option for parameter in group.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z]+", rest)) <= options
