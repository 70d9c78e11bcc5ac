"""Campaign: a gateway whose parts are killed thirty times while four senders send, loses and doubles nothing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.campaigns.dicom_kills import FLOW_RUN, Killer, judge, make_senders, runs_end, send_all, settle
from tests.campaigns.gateway import RoughGateway
from tests.campaigns.slow_line import SlowLine
from tests.campaigns.store_senders import STORESCU, make_instances
from tests.dicom_peers import debian_program
from tests.servers import PrefectServer

pytestmark = [pytest.mark.campaign, pytest.mark.debian, pytest.mark.timeout(1800)]

INSTANCES, SENDERS, KILLS = 400, 4, 30
KINDS = ["listener", "worker", "server", FLOW_RUN]
#: All instances take some five minutes at this pace, so that kills meet senders at work.
BYTES_PER_SECOND = 6000


@pytest.mark.parametrize(("seed", "verify"), [(2101, "read_back"), (2102, "c_find")])
def test_thirty_kills_lose_and_double_nothing(
    home: Path, prefect_template: Path, tmp_path: Path, seed: int, verify: str
) -> None:
    debian_program(STORESCU)
    began = time.monotonic()
    print(f"\nseed {seed}, verify {verify}")
    instances = make_instances(tmp_path / "instances", INSTANCES, seed)
    with RoughGateway(home, prefect_template, verify=verify) as gateway:
        kinds = [KINDS[number % len(KINDS)] for number in range(KILLS)]
        killer = Killer(gateway, seed, kinds, pauses=(0.5, 8))
        with SlowLine(gateway.listener, BYTES_PER_SECOND) as line, gateway.sweeping():
            senders = make_senders(gateway, instances, line.address, count=SENDERS, seed=seed)

            def kill_all() -> None:
                killer.run(lambda: any(each.sending for each in senders), patience=120)
                line.open_up()

            send_all(senders, 300, kill_all)
            settle(gateway, 600)
        runs_end(gateway, 180)
        verdict = judge(gateway, killer.done)
    print(f"{len(killer.done)} kills, {time.monotonic() - began:.0f} s: {verdict}")
    assert verdict.problems == []
    assert verdict.acknowledged == INSTANCES
    assert len(killer.done) == KILLS


@pytest.mark.parametrize("how", ["gone", "frozen"])
def test_a_minute_without_prefects_api_refuses_and_loses_nothing(
    home: Path, prefect_template: Path, tmp_path: Path, how: str
) -> None:
    debian_program(STORESCU)
    instances = make_instances(tmp_path / "instances", 120, 2103)
    server = PrefectServer(tmp_path / "server", prefect_template)
    server.start()

    @contextmanager
    def gone() -> Iterator[None]:
        server.kill()
        yield
        server.start()

    try:
        api = server.url if how == "gone" else None
        with RoughGateway(home, prefect_template, verify="read_back", prefect_api=api) as gateway:
            # Two megabytes over four connections: they are at it for most of the minute.
            with SlowLine(gateway.listener, 10_000) as line:
                senders = make_senders(gateway, instances, line.address, count=SENDERS, seed=2103)
                with gone() if how == "gone" else gateway.frozen_api():
                    began = time.monotonic()
                    send_all(senders, 300, lambda: time.sleep(60))
                    assert {each.path for each in instances} == {path for each in senders for path in each.acknowledged}
            away = time.monotonic() - began
            with gateway.sweeping():
                settle(gateway, 300)
            runs_end(gateway, 180)
            verdict = judge(gateway)
    finally:
        server.stop()
    print(f"{how} for {away:.0f} s, all done {time.monotonic() - began - away:.0f} s later: {verdict}")
    assert verdict.problems == []
    assert (verdict.refused, verdict.unanswered) == ([], 0)
    assert verdict.delivered == len(instances)
