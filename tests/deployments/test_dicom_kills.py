"""A gateway whose parts are killed while it receives: the short form of `tests/campaigns/test_dicom_kills.py`."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.engine import dispose_engines
from blocks.settings import settings
from tests.campaigns.dicom_kills import FLOW_RUN, Killer, judge, make_senders, runs_end, send_all, settle
from tests.campaigns.gateway import RoughGateway
from tests.campaigns.slow_line import SlowLine
from tests.campaigns.store_senders import STORESCU, acknowledged_in, make_instances
from tests.dicom_peers import debian_program

# One gateway, so one process.

SEED = 7


def test_only_what_was_answered_with_success_counts_as_acknowledged() -> None:
    log = (
        "I: Sending file: /tmp/one.dcm\nI: Converting\nI: Received Store Response (Success)\n"
        "I: Sending file: /tmp/two.dcm\nI: Received Store Response (Refused: OutOfResources)\n"
        "I: Sending file: /tmp/three.dcm\nE: Store Failed, file: /tmp/three.dcm:\n"
    )
    assert acknowledged_in(log) == {Path("/tmp/one.dcm")}
    assert acknowledged_in("") == set()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, prefect_template: Path) -> Iterator[RoughGateway]:
    """One gateway for both: it takes ten seconds to start."""
    debian_program(STORESCU)
    home = tmp_path_factory.mktemp("rough") / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUINTET_HOME", str(home))
        settings.cache_clear()
        with RoughGateway(home, prefect_template, verify="read_back") as running:
            yield running
        dispose_engines()
    settings.cache_clear()


@pytest.mark.debian
def test_without_prefects_api_nothing_is_refused_and_all_is_processed_after(
    gateway: RoughGateway, tmp_path: Path
) -> None:
    instances = make_instances(tmp_path / "away", 24, SEED)
    senders = make_senders(gateway, instances, gateway.listener, count=2, seed=SEED)
    with gateway.frozen_api():
        send_all(senders, 60, lambda: time.sleep(8))
        assert {each.path for each in instances} == {path for each in senders for path in each.acknowledged}
    with gateway.sweeping():
        settle(gateway, 90)
    verdict = judge(gateway)
    assert verdict.problems == []
    assert (verdict.refused, verdict.unanswered) == ([], 0)


@pytest.mark.debian
def test_a_kill_of_each_part_loses_and_doubles_nothing(gateway: RoughGateway, tmp_path: Path) -> None:
    instances = make_instances(tmp_path / "kills", 60, SEED + 1)
    killer = Killer(gateway, SEED, ["listener", "worker", "server", FLOW_RUN], pauses=(0.5, 4))
    with SlowLine(gateway.listener, 30_000) as line, gateway.sweeping():
        senders = make_senders(gateway, instances, line.address, count=2, seed=SEED)

        def kill_all() -> None:
            killer.run(lambda: any(each.sending for each in senders), patience=60)
            line.open_up()

        send_all(senders, 120, kill_all)
        settle(gateway, 150)
    runs_end(gateway, 60)
    verdict = judge(gateway, killer.done)
    print(f"{len(killer.done)} kills: {verdict}")
    assert verdict.problems == []
    assert len(killer.done) == 4
    assert {each.path for each in instances} == {path for each in senders for path in each.acknowledged}
