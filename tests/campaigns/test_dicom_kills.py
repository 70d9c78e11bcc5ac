"""Campaign: a gateway whose parts are killed thirty times while four senders send, loses and doubles nothing."""

import time
from pathlib import Path

import pytest

from tests.campaigns.dicom_kills import FLOW_RUN, Killer, judge, make_senders, runs_end, send_all, settle
from tests.campaigns.gateway import RoughGateway
from tests.campaigns.slow_line import SlowLine
from tests.campaigns.store_senders import STORESCU, make_instances
from tests.dicom_peers import debian_program

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
            senders = make_senders(instances, line.address, tmp_path / "logs", count=SENDERS, seed=seed)

            def kill_all() -> None:
                killer.run(lambda: any(each.sending for each in senders), patience=120)
                line.open_up()

            send_all(senders, 300, kill_all)
            settle(gateway, 600)
        runs_end(gateway, 180)
        verdict = judge(gateway, senders, killer.done)
    print(f"{len(killer.done)} kills, {time.monotonic() - began:.0f} s: {verdict}")
    assert verdict.problems == []
    assert verdict.acknowledged == INSTANCES
    assert len(killer.done) == KILLS
