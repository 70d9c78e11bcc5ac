"""The former tasks are called as formerly, and their table says what queues, limits and retries they have."""

import inspect
import re
from importlib import import_module
from typing import Any

import pytest

import tasks.league
from deployments.catalogue import read_catalogue
from deployments.documentation import DOCS
from deployments.limits import LIMITS
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


def _told(name: str) -> str:
    """What the table says of a task; `as above` is looked up there."""
    rows = [line for line in (DOCS / "former-tasks.md").read_text().splitlines() if line.startswith("| `core.tasks.")]
    (place,) = (place for place, row in enumerate(rows) if f"`core.tasks.{name}`" in row)
    found = re.search(r"queue `.*?\)", rows[place - 1])
    return rows[place].replace("queue and limit as above", found[0] if found else "")


@pytest.mark.parametrize("name", FORMER)
def test_the_table_tells_queue_limit_and_retries(name: str) -> None:
    told, task = _told(name), getattr(tasks.league, name)
    deployments = re.findall(r"`league-[\w-]+/([\w-]+)`", told)
    assert deployments
    for deployment in deployments:
        (raw,) = (
            raw
            for raw in read_catalogue().raw
            if raw["name"] == deployment and f"`{_flow_name(raw['entrypoint'])}/{deployment}`" in told
        )
        assert f"queue `{raw['work_pool']['work_queue_name']}`" in told
        (limit,) = (limit for limit in LIMITS if limit.name == _module(raw["entrypoint"]).SUBMISSION_LIMIT)
        an_hour = round(limit.slot_decay_per_second * 3600)
        rate = f"{an_hour} an hour" if an_hour < 60 else f"{an_hour // 60} a minute"
        assert f"limit `{limit.name}` ({rate})" in told
    assert re.search(rf"policy `\w+` \({task.retries}[,)]", told)


def _module(entrypoint: str) -> Any:
    return import_module(entrypoint.rpartition(".")[0])


def _flow_name(entrypoint: str) -> str:
    name: str = getattr(_module(entrypoint), entrypoint.rpartition(".")[2]).name
    return name


def test_the_table_of_results_names_what_results_have() -> None:
    rows = [
        row
        for line in (DOCS / "former-tasks.md").read_text().splitlines()
        if (row := re.match(r"\| `(\w+)`: .* \| `(\w+)`: (.*) \|$", line))
    ]
    assert len(rows) == 3
    for row in rows:
        result: Any = inspect.signature(getattr(tasks.league, row[1]).fn).return_annotation
        assert result.__name__ == row[2]
        assert {name.partition(".")[0] for name in re.findall(r"`([\w.]+)`", row[3])} <= set(result.model_fields)
