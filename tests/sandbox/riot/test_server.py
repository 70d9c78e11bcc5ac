"""The sandbox over real connections: compression, broken answers, and its life as a thread and as a process."""

import asyncio
import gzip
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from deployments.demo.processes import SandboxError, running
from deployments.sandbox.riot.options import SandboxOptions
from deployments.sandbox.riot.server import RunningSandbox, running_sandbox

MODULE = "deployments.sandbox.riot"


def match_url(sandbox: RunningSandbox) -> str:
    match_id = next(match["match_id"] for match in sandbox.app.truth()["player"]["matches"] if match["match"] == "here")
    return sandbox.base_url.format(route="americas") + f"/lol/match/v5/matches/{match_id}"


def a_client(sandbox: RunningSandbox) -> httpx.Client:
    return httpx.Client(headers={"X-Riot-Token": sandbox.key}, timeout=20)


def test_answers_are_compressed_for_who_takes_it() -> None:
    with running_sandbox(SandboxOptions(matches=5)) as sandbox, a_client(sandbox) as client:
        url = match_url(sandbox) + "/timeline"
        packed = client.get(url, headers={"Accept-Encoding": "gzip, deflate"})
        plain = client.get(url, headers={"Accept-Encoding": "identity"})
        assert packed.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.headers
        assert packed.content == plain.content
        assert int(packed.headers["content-length"]) * 3 < int(plain.headers["content-length"])
        with client.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as raw:
            assert gzip.decompress(b"".join(raw.iter_raw())) == plain.content


def test_connections_break_in_both_ways() -> None:
    options = SandboxOptions(matches=5, app=((1000, 1.0),), broken_rate=1)
    with running_sandbox(options) as sandbox, a_client(sandbox) as client:
        seen = set()
        for _ in range(20):
            with pytest.raises(httpx.TransportError) as broken:
                client.get(match_url(sandbox))
            seen.add(type(broken.value))
        assert seen == {httpx.RemoteProtocolError, httpx.ReadError}
        assert sandbox.app.truth()["totals"]["by_status"] == {"broken": 20}
        assert httpx.get(f"{sandbox.url}/__truth").json()["totals"]["admitted"] == 20


def test_bodies_end_early() -> None:
    with running_sandbox(SandboxOptions(matches=5, truncated_rate=1)) as sandbox, a_client(sandbox) as client:
        with pytest.raises(httpx.RemoteProtocolError, match=r"without sending complete message body"):
            client.get(match_url(sandbox))
        assert sandbox.app.truth()["totals"]["by_status"] == {"truncated": 1}


def test_bodies_trickle_and_arrive_whole() -> None:
    options = SandboxOptions(matches=5, trickle_rate=1, trickle_bytes=1_000_000)
    with running_sandbox(options) as sandbox, a_client(sandbox) as client:
        slow = client.get(match_url(sandbox))
        httpx.post(f"{sandbox.url}/__set", json={"trickle_rate": 0}).raise_for_status()
        assert client.get(match_url(sandbox)).content == slow.content


async def test_latency_lets_requests_overlap() -> None:
    options = SandboxOptions(matches=5, latency=(0.01, 0.02), app=((1000, 1.0),))
    with running_sandbox(options) as sandbox:
        async with httpx.AsyncClient(headers={"X-Riot-Token": sandbox.key}) as client:
            answers = await asyncio.gather(*(client.get(match_url(sandbox)) for _ in range(30)))
        assert {answer.status_code for answer in answers} == {200}
        times = sandbox.app.truth(times=True)["times"]["americas"]["admitted"]
        assert len(times) == 30


def test_a_sandbox_ends_while_it_is_answering() -> None:
    options = SandboxOptions(matches=5, trickle_rate=1, trickle_bytes=20)
    with httpx.Client(timeout=20) as client:
        with running_sandbox(options) as sandbox:
            answer = client.send(
                client.build_request("GET", match_url(sandbox), headers={"X-Riot-Token": sandbox.key}), stream=True
            )
            assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()
        answer.close()
    with pytest.raises(httpx.ConnectError), httpx.Client() as late:
        late.get(f"{sandbox.url}/__truth")


def test_as_a_process_it_says_when_it_is_ready(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(MODULE, "--matches", "3", "--seed", "4", "--game-name", "Über mir", log=log) as told:
        assert told["player"]["game_name"] == "Über mir"
        assert (told["player"]["platform"], told["player"]["regional"]) == ("na1", "americas")
        url = told["base_url"].format(route="europe") + "/riot/account/v1/accounts/by-riot-id/über mir/na1"
        answer = httpx.get(url, headers={"X-Riot-Token": told["key"]})
        assert answer.json()["puuid"] == told["player"]["puuid"]
    assert log.read_text() == ""


def test_sigterm_ends_it_with_open_connections_and_without_a_word() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE, "--matches", "3"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    port = process.stdout.readline().split('"port": ')[1].split(",")[0]
    with httpx.Client() as client:
        client.get(f"http://127.0.0.1:{port}/__truth").raise_for_status()
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest, errors) == (0, "", "")


def test_a_kind_that_there_is_not_ends_it_at_once(tmp_path: Path) -> None:
    with (
        pytest.raises(SandboxError, match="chess is none of"),
        running(MODULE, "--kind", "chess", log=tmp_path / "log"),
    ):
        pass
