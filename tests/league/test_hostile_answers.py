"""Answers that are no match, or one that no game is: each fails by itself, and nothing of it gets anywhere."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from blocks.engine import session
from blocks.riot.errors import RiotAnswerError
from blocks.riot.routes import MATCH_ID as ASKED_FOR
from deployments.sandbox.riot.corpus import encoded
from deployments.sandbox.riot.corpus_timelines import Encoded
from deployments.sandbox.riot.server import RunningSandbox
from tasks.league.core.card import player_card
from tasks.league.core.card_sections import markdown
from tasks.league.core.participants import MATCH_ID as STORED
from tasks.league.core.plots import kda_plot
from tasks.league.core.statistics import differences
from tasks.league.core.tables import DOMAIN, Fetch, FetchKind, FetchState, Listing
from tests.league.conftest import riot
from tests.league.damage import MATCH, sync

Change = Callable[[bytes], bytes]
EVIL = "EVIL](javascript:x)<script>|`\n# "


def participant(**changes: object) -> Change:
    def change(body: bytes) -> bytes:
        match = json.loads(body)
        match["info"]["participants"][0] |= changes
        return json.dumps(match).encode()

    return change


def info(**changes: object) -> Change:
    return lambda body: json.dumps((match := json.loads(body)) | {"info": match["info"] | changes}).encode()


def many(body: bytes) -> bytes:
    match = json.loads(body)
    one = {name: match["info"]["participants"][0][name] for name in ("puuid", "championId", "win", "kills", "deaths")}
    rest = {"participantId": 1, "teamId": 1, "assists": 0}
    return json.dumps(match | {"info": match["info"] | {"participants": [one | rest] * 10_000}}).encode()


#: What is wrong, how, and what the ledger says of it; None where there is nothing to be said against it.
CASES: dict[str, tuple[Change, str | None]] = {
    "10,000 participants": (many, "participants"),
    "negative kills": (participant(kills=-1), "kills"),
    "more gold than a column holds": (participant(goldEarned=10**12), "goldEarned"),
    "a puuid that is a path": (participant(puuid="../../EVIL"), "puuid: not a puuid"),
    "a puuid of 10,000 characters": (participant(puuid="EVIL" * 2500), "puuid: not a puuid"),
    "after the year 2100": (info(gameStartTimestamp=253_402_300_799_999), "gameStartTimestamp"),
    "before 1970": (info(gameStartTimestamp=-1), "gameStartTimestamp"),
    "another match": (lambda body: b'{"metadata":{"matchId":"NA1_1"},"info":{"participants":[]}}', "another match"),
    "HTML": (lambda body: b"<html>EVIL</html>", "no JSON but HTML"),
    "not UTF-8": (lambda body: body.replace(b'"gameMode":"', b'"gameMode":"EVIL\xff\xfe', 1), "no JSON"),
    "nested without end": (lambda body: body[:-1] + b',"EVIL":' + b"[" * 5000 + b"]" * 5000 + b"}", "no JSON"),
    "odd names": (participant(riotIdGameName=f"\0\u202e\U0001f600{EVIL}", riotIdTagline="\u200f\0"), None),
    "odd champion": (participant(championName=EVIL, championId=-7, role="\0", lane=EVIL[:32]), None),
    "much that is not read": (info(unread="EVIL" * 500_000), None),
}


def spoil(sandbox: RunningSandbox, patch: pytest.MonkeyPatch) -> dict[str, str]:
    """Let the API answer the newest matches so; gives the case of each match."""
    answered, ids = sandbox.app._answers.of, sandbox.app.truth()["player"]["match_ids"]
    cases = dict(zip(ids, CASES, strict=False))

    def of(method: str, call: Any) -> Encoded:
        answer = answered(method, call)
        case = cases.get(call.parts.get("match_id", "")) if method == MATCH else None
        return answer if case is None else encoded(CASES[case][0](answer.plain))

    patch.setattr(sandbox.app._answers, "of", of)
    return cases


def test_each_fails_with_its_reason_and_the_rest_goes_on(
    league_databases: str, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    options: dict[str, Any] = {"edge_cases": False, "missing_match_rate": 0.0, "missing_timeline_rate": 0.0}
    with riot(matches=len(CASES) + 3, **options) as sandbox, caplog.at_level(logging.INFO):
        cases = spoil(sandbox, monkeypatch)
        result = sync(sandbox)
    with session(DOMAIN) as opened:
        rows = opened.exec(select(Fetch).where(col(Fetch.kind) == FetchKind.MATCH)).all()
        assert {row.match_id for row in rows if row.match_id not in cases and row.state is FetchState.STORED}
        for row in (row for row in rows if row.match_id in cases):
            reason = CASES[cases[row.match_id]][1]
            assert row.state is (FetchState.STORED if reason is None else FetchState.FAILED), cases[row.match_id]
            assert reason is None or reason in str(row.reason), cases[row.match_id]
            assert "EVIL" not in str(row.reason)
        assert differences(opened) == []
        card = player_card(opened, result.puuid)
        opened.rollback()
    assert len(rows) == len(cases) + 3
    assert result.timelines_stored == len(rows)
    assert "EVIL" not in caplog.text
    assert kda_plot(card).startswith(b"\x89PNG")
    text = markdown(card, {})
    assert "<script>" not in text and "](javascript" not in text and "\n# \n" not in text


def answer_to(sandbox: RunningSandbox, patch: pytest.MonkeyPatch, wanted: str, body: Callable[[Any], Any]) -> None:
    """Let the API answer one method with something else."""
    answered = sandbox.app._answers.of

    def of(method: str, call: Any) -> Encoded:
        answer = answered(method, call)
        return encoded(json.dumps(body(json.loads(answer.plain))).encode()) if method == wanted else answer

    patch.setattr(sandbox.app._answers, "of", of)


def test_what_is_no_match_id_spoils_neither_its_page_nor_the_next(
    league_files: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    wrong = ["../../x", "EVIL" * 100_000, "NA1_" + "9" * 16, "A_1", "na1_5", "NA1_5\0", "", "NA1_٣"]

    def page(ids: list[str]) -> list[str]:
        # A page keeps its size, as if these had been games.
        return wrong + ids[len(wrong) :] if len(ids) == 100 else ids

    with riot(matches=110) as sandbox, caplog.at_level(logging.INFO):
        answer_to(sandbox, monkeypatch, "match-v5.getMatchIdsByPUUID", page)
        monkeypatch.setattr("tasks.league.players._to_fetch", lambda puuid: [])
        result = sync(sandbox)
    with session(DOMAIN, read_only=True) as opened:
        listed = set(opened.exec(select(Listing.match_id)).all())
    assert result.listed == len(listed) == 110 - len(wrong)
    assert listed.isdisjoint(wrong)
    assert f"ids={len(wrong)}" in caplog.text and "EVIL" not in caplog.text


def test_an_id_that_can_be_asked_for_can_be_stored() -> None:
    assert ASKED_FOR.pattern.replace("(", "").replace(")", "") == STORED.pattern.replace("(", "").replace(")", "")


@pytest.mark.parametrize("puuid", ["", "EVIL" * 2500, "../../EVIL", "EVIL\0"])
def test_a_puuid_that_is_none_is_asked_for_nowhere(
    league_files: Path, monkeypatch: pytest.MonkeyPatch, puuid: str
) -> None:
    with riot(matches=1) as sandbox:
        answer_to(sandbox, monkeypatch, "account-v1.getByRiotId", lambda account: account | {"puuid": puuid})
        with pytest.raises(RiotAnswerError, match="puuid: ") as raised:
            sync(sandbox)
        assert "EVIL" not in str(raised.value)
        assert list(sandbox.app.truth()["routes"]) == ["americas"]
