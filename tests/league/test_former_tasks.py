"""The former tasks are called as formerly: names, parameters, their order and defaults."""

import inspect
from typing import Any

import pytest

import tasks.league
from flows.league.cleanup import clean
from flows.league.players import sync_player
from flows.league.recovery import recover_player

_PLAYER: dict[str, Any] = {
    "game_name": ...,
    "tag_line": ...,
    "platform": "na1",
    "routing": "americas",
    "year": None,
}
#: Former task -> its parameters in order, and their defaults; `...` where it had none.
FORMER: dict[str, dict[str, Any]] = {
    "sync_player_data": _PLAYER,
    "recover_player_data": _PLAYER,
    "sync_match_data_atomic": dict.fromkeys(("match_id", "platform", "routing", "puuid", "year"), ...),
    "sync_match_timeline_atomic": dict.fromkeys(("match_id", "platform", "routing"), ...),
    "auto_retry_failed_matches": {},
    "cleanup_old_data": {"days": 30},
    "health_check": {},
}


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", FORMER)
def test_a_former_call_is_a_call(name: str) -> None:
    task = getattr(tasks.league, name)
    assert task.name == name
    now, former = _parameters(task.fn), FORMER[name]
    assert list(now)[: len(former)] == list(former)
    assert {each: now[each].default for each, default in former.items() if default is not ...} == {
        each: default for each, default in former.items() if default is not ...
    }
    # What came since can be left out.
    assert all(now[each].default is not inspect.Parameter.empty for each in list(now)[len(former) :])


@pytest.mark.parametrize("flow", [sync_player, recover_player])
def test_the_flows_of_a_player_take_what_the_tasks_take(flow: Any) -> None:
    now = _parameters(flow.fn)
    assert list(now)[: len(_PLAYER)] == list(_PLAYER)
    assert {name: now[name].default for name in ("platform", "routing", "year")} == {
        "platform": "na1",
        "routing": "americas",
        "year": None,
    }


def test_cleaning_by_a_flow_keeps_as_long_as_formerly_and_asks_first() -> None:
    assert {name: each.default for name, each in _parameters(clean.fn).items()} == {"days": 30, "dry_run": True}
