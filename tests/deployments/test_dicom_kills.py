"""A gateway whose parts are killed while it receives: the short form of `tests/campaigns/test_dicom_kills.py`."""

from pathlib import Path

import pytest

from tests.campaigns.dicom_kills import FLOW_RUN, Killer, judge, make_senders, runs_end, send_all, settle
from tests.campaigns.gateway import RoughGateway
from tests.campaigns.slow_line import SlowLine
from tests.campaigns.store_senders import STORESCU, acknowledged_in, make_instances
from tests.dicom_peers import debian_program

SEED = 7


def test_only_what_was_answered_with_success_counts_as_acknowledged() -> None:
    log = (
        "I: Sending file: /tmp/one.dcm\nI: Converting\nI: Received Store Response (Success)\n"
        "I: Sending file: /tmp/two.dcm\nI: Received Store Response (Refused: OutOfResources)\n"
        "I: Sending file: /tmp/three.dcm\nE: Store Failed, file: /tmp/three.dcm:\n"
    )
    assert acknowledged_in(log) == {Path("/tmp/one.dcm")}
    assert acknowledged_in("") == set()


@pytest.mark.debian
def test_a_kill_of_each_part_loses_and_doubles_nothing(home: Path, prefect_template: Path, tmp_path: Path) -> None:
    debian_program(STORESCU)
    instances = make_instances(tmp_path / "instances", 60, SEED)
    with RoughGateway(home, prefect_template, verify="read_back") as gateway:
        killer = Killer(gateway, SEED, ["listener", "worker", "server", FLOW_RUN], pauses=(0.5, 4))
        with SlowLine(gateway.listener, 30_000) as line, gateway.sweeping():
            senders = make_senders(instances, line.address, tmp_path / "logs", count=2, seed=SEED)

            def kill_all() -> None:
                killer.run(lambda: any(each.sending for each in senders), patience=60)
                line.open_up()

            send_all(senders, 120, kill_all)
            settle(gateway, 120)
        runs_end(gateway, 60)
        verdict = judge(gateway, senders, killer.done)
    print(f"{len(killer.done)} kills: {verdict}")
    assert verdict.problems == []
    assert verdict.acknowledged == 60
