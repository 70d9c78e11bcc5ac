"""The exchange as a process, as a thread, and on its command line."""

import shlex
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from deployments.demo.processes import SandboxError, running
from deployments.sandbox.exchange.options import ExchangeOptions, OptionError, as_json, from_command_line
from deployments.sandbox.exchange.server import running_exchange
from tests.sandbox.exchange.calls import listening

MODULE = "deployments.sandbox.exchange"


async def test_as_a_process_it_says_when_it_is_ready(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(MODULE, "--traders", "5", "--coins", "BTC,@107", "--rate", "200", log=log) as told:
        assert told["coins"] == ["BTC", "@107"]
        assert told["url"] == f"http://{told['host']}:{told['port']}"
        async with listening(told["ws_url"]) as listener:
            await listener.subscribe("BTC")
            await listener.trades(3)
        assert len(httpx.get(f"{told['url']}/__truth?parts=traders").json()["traders"]) == 5
    assert log.read_text() == ""


async def test_sigterm_ends_it_with_open_connections_and_without_a_word() -> None:
    command = [sys.executable, "-m", MODULE, "--rate", "500", "--days", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = process.stdout.readline().split('"port": ')[1].split(",")[0]
    async with listening(f"ws://127.0.0.1:{port}/ws") as listener:
        await listener.subscribe("BTC")
        await listener.trades(1)
        with httpx.Client() as client:
            client.get(f"http://127.0.0.1:{port}/__truth").raise_for_status()
            process.send_signal(signal.SIGTERM)
            rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest, errors) == (0, "", "")


def test_a_wrong_option_ends_it_at_once(tmp_path: Path) -> None:
    with (
        pytest.raises(SandboxError, match="traders: at least 4"),
        running(MODULE, "--traders", "1", log=tmp_path / "log"),
    ):
        pass


def test_a_market_that_breaks_does_not_look_like_a_quiet_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with (
        pytest.raises(RuntimeError, match="the sandbox's market broke"),
        running_exchange(ExchangeOptions(paused=True)) as exchange,
    ):
        monkeypatch.setattr(exchange.app.world.market, "block", broken)
        exchange.tell("resume")
        while httpx_reaches(exchange.url):
            pass


def httpx_reaches(url: str) -> bool:
    try:
        httpx.get(f"{url}/__truth")
    except httpx.TransportError:
        return False
    return True


def test_the_command_line_sets_every_option() -> None:
    told = (
        "--port 7 --coins BTC,ETH --rate inf --prepare 10 --paused --flat-start off --latency 0.1:0.2 "
        "--slow-client close --windows fixed --weight 100"
    )
    options, port = from_command_line(shlex.split(told))
    assert port == 7
    assert options == ExchangeOptions(
        coins=("BTC", "ETH"),
        rate=float("inf"),
        prepare=10,
        paused=True,
        flat_start=False,
        latency=(0.1, 0.2),
        slow_client="close",
        windows="fixed",
        weight=100,
    )
    assert as_json(options)["rate"] == "inf"
    assert from_command_line([])[0] == ExchangeOptions()


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"coins": ("BTC", "BTC")}, "coins: at least one, each once"),
        ({"coins": ()}, "coins: at least one, each once"),
        ({"rate": 0}, "rate: above 0"),
        ({"latency": (2.0, 1.0)}, "latency: two numbers, the smaller one first"),
        ({"error_rate": 1.5}, "error_rate: between 0 and 1"),
        ({"days": -1}, "days: not below 0"),
        ({"slow_client": "shout"}, "slow_client: wait or close"),
    ],
)
def test_options_are_checked(told: dict[str, object], why: str) -> None:
    with pytest.raises(OptionError, match=why):
        ExchangeOptions(**told)  # type: ignore[arg-type]
