"""Kills parts of a working gateway at random moments, and counts what arrived against what was acknowledged.

The sender's own log says what was acknowledged, the peer's own store what arrived. Everything else that is asked
(associations, files, flow runs) must agree with it once all is quiet again.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from sqlmodel import col, func, select

from blocks.engine import session
from tasks.dicom.core.header import content_sha256
from tasks.dicom.core.tables import Association, AssociationState, DustbinEntry, Receipt, ReceiptState
from tests.campaigns.gateway import UNFINISHED, RoughGateway
from tests.campaigns.store_senders import Instance, StoreSender

PROCESS_ASSOCIATION = "dicom-process-association"
FLOW_RUN = "flow run"
#: A flow run is killed so long after it was first seen, so that every step of it is met.
_INTO_A_RUN = 1.2


@dataclass(frozen=True)
class Kill:
    """One SIGKILL."""

    what: str
    pid: int
    at: datetime
    #: Of a killed flow run: which, and how often its association had been dispatched; None where that was done by then.
    flow_run_id: UUID | None = None
    association_id: UUID | None = None
    dispatches: int | None = None


class Killer:
    """Kills what it is told to at moments of its own; the same seed chooses the same order and pauses."""

    def __init__(self, gateway: RoughGateway, seed: int, kinds: Sequence[str], pauses: tuple[float, float]) -> None:
        self._gateway = gateway
        self._chance = random.Random(seed)
        self._kinds = list(kinds)
        self._chance.shuffle(self._kinds)
        self._pauses = pauses
        self.done: list[Kill] = []

    def run(self, still_sending: Callable[[], bool], *, patience: float) -> None:
        """Kill them all, each after a random pause, as long as there is work to disturb.

        Args:
            still_sending: whether senders are at it; kills stop with them.
            patience: seconds to wait for a victim of the wanted kind to be alive.
        """
        for kind in self._kinds:
            time.sleep(self._chance.uniform(*self._pauses))
            deadline = time.monotonic() + patience
            while not self._kill(kind):
                assert time.monotonic() < deadline, f"no {kind} to kill:\n{self._gateway.said()}"
                time.sleep(0.02)
            print(f"  kill {len(self.done)}: {kind}{'' if still_sending() else ' (after the last was sent)'}")

    def _kill(self, kind: str) -> bool:
        if kind == FLOW_RUN:
            return self._kill_flow_run()
        living = self._gateway.service(kind)
        if not living:
            return False
        victim = self._chance.choice(living)
        os.kill(victim, signal.SIGKILL)
        self.done.append(Kill(kind, victim, datetime.now(UTC)))
        return True

    def _kill_flow_run(self) -> bool:
        time_in = self._chance.uniform(0, _INTO_A_RUN)
        running = self._gateway.flow_runs_here()
        if not running:
            return False
        time.sleep(time_in)
        with session("dicom", read_only=True) as opened:
            rows = opened.exec(select(Association).where(col(Association.flow_run_id).in_(list(running)))).all()
        for row in rows:
            victim = running[row.flow_run_id] if row.flow_run_id else None
            if victim is None or not victim.alive():
                continue
            os.kill(victim.pid, signal.SIGKILL)
            at = datetime.now(UTC)
            # Asked after the kill: what was done by then needs no other run.
            with session("dicom", read_only=True) as opened:
                now = opened.exec(select(Association).where(Association.id == row.id)).one()
            dispatches = None if now.state is AssociationState.DONE else row.dispatches
            self.done.append(Kill(FLOW_RUN, victim.pid, at, row.flow_run_id, row.id, dispatches))
            return True
        return False


@dataclass
class Verdict:
    """What was found when all was quiet."""

    acknowledged: int = 0
    delivered: int = 0
    lost: int = 0
    duplicates: int = 0
    receipts: int = 0
    associations: int = 0
    #: How the runs of associations ended.
    runs: dict[str, int] = field(default_factory=dict)
    sender_associations: int = 0
    #: Answers other than success.
    refused: list[str] = field(default_factory=list)
    #: Instances whose association ended before their answer came; they were sent again.
    unanswered: int = 0
    problems: list[str] = field(default_factory=list)


def wait_for(what: str, true: Callable[[], bool], patience: float, say: Callable[[], str] = lambda: "") -> None:
    """Wait until something is true, an API that is away being no answer.

    Raises:
        AssertionError: it never is.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            if true():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.25)
    raise AssertionError(f"not within {patience} s: {what}. {say()}")


def send_all(senders: Sequence[StoreSender], patience: float, meanwhile: Callable[[], None]) -> None:
    """Start the senders, do something meanwhile, and wait until they have an acknowledgement for everything."""
    try:
        for sender in senders:
            sender.start()
        meanwhile()
        wait_for("everything is acknowledged", lambda: not any(each.sending for each in senders), patience)
    finally:
        for sender in senders:
            sender.stop()


def settle(gateway: RoughGateway, patience: float) -> None:
    """Wait until the ledger has nothing to do and no run is under way; sweeps go on meanwhile."""
    wait_for("all associations are done", lambda: not _undone(), patience, lambda: f"{_undone()}\n{gateway.said()}")
    wait_for("the spool is empty", lambda: not _spooled(gateway.home), 60, lambda: str(_spooled(gateway.home)))


def runs_end(gateway: RoughGateway, patience: float) -> None:
    """Wait for a moment at which no run is on its way; to be asked when nobody starts any."""

    def under_way() -> list[str]:
        runs = gateway.flow_runs(states=UNFINISHED)
        # The scheduler makes runs of coming minutes.
        late = datetime.now(UTC).isoformat()
        return [
            f"{run['name']} {run['state_name']} since {run['state']['timestamp']}"
            for run in runs
            if run["state_type"] != "SCHEDULED" or run["expected_start_time"].replace("Z", "+00:00") < late
        ]

    wait_for("no run is under way", lambda: not under_way(), patience, lambda: str(under_way()))


def _undone() -> dict[str, int]:
    with session("dicom", read_only=True) as opened:
        rows = opened.exec(
            select(Association.state, func.count())
            .where(Association.state != AssociationState.DONE)
            .group_by(Association.state)
        ).all()
    return {str(state): count for state, count in rows}


def _spooled(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "dicom" / "spool").iterdir())


def judge(gateway: RoughGateway, kills: Sequence[Kill] = ()) -> Verdict:
    """Compare the truth of all senders so far with the peer's, and both with what the gateway says of itself."""
    verdict = Verdict(
        sender_associations=sum(each.associations for each in gateway.senders),
        refused=[answer for each in gateway.senders for answer in each.refused],
        unanswered=sum(each.unanswered for each in gateway.senders),
    )
    _judge_deliveries(gateway, gateway.senders, verdict)
    _judge_files(gateway.home, verdict)
    _judge_runs(gateway, kills, verdict)
    return verdict


def _judge_deliveries(gateway: RoughGateway, senders: Sequence[StoreSender], verdict: Verdict) -> None:
    acknowledged: set[tuple[str, str]] = {item.key for each in senders for item in each.acknowledged.values()}
    sent: set[tuple[str, str]] = {item.key for each in senders for item in each.instances}
    objects = gateway.peer["objects"]
    arrived = Counter({(each["sop_instance_uid"], each["content_sha256"]): each["arrivals"] for each in objects})
    verdict.acknowledged, verdict.delivered = len(acknowledged), len(arrived)
    verdict.lost = len(acknowledged - arrived.keys())
    verdict.duplicates = arrived.total() - len(arrived)
    strange = arrived.keys() - sent
    if verdict.lost:
        verdict.problems.append(f"acknowledged and not delivered: {sorted(acknowledged - arrived.keys())}")
    if verdict.duplicates:
        twice = sorted(key for key, times in arrived.items() if times > 1)
        verdict.problems.append(f"delivered more than once: {twice}")
    if strange:
        verdict.problems.append(f"delivered and never sent: {sorted(strange)}")
    if not all(each["held"] for each in objects):
        verdict.problems.append("the peer does not hold all that arrived")


def _judge_files(home: Path, verdict: Verdict) -> None:
    with session("dicom", read_only=True) as opened:
        receipts = opened.exec(select(Receipt)).all()
        entries = {entry.receipt_id: entry for entry in opened.exec(select(DustbinEntry)).all()}
        verdict.associations = opened.exec(select(func.count()).select_from(Association)).one()
    verdict.receipts = len(receipts)
    for receipt in receipts:
        entry = entries.get(receipt.id)
        if receipt.state is not ReceiptState.DISPOSED or entry is None:
            verdict.problems.append(f"receipt {receipt.id} is {receipt.state}: {receipt.reason}")
        elif content_sha256(home / "dicom" / entry.path) != receipt.content_sha256:
            verdict.problems.append(f"the dustbin holds something else for receipt {receipt.id}")
    if left := _spooled(home):
        verdict.problems.append(f"left in the spool: {left}")


def _judge_runs(gateway: RoughGateway, kills: Sequence[Kill], verdict: Verdict) -> None:
    runs = gateway.flow_runs(flow=PROCESS_ASSOCIATION)
    verdict.runs = dict(Counter(run["state_type"] for run in runs))
    with session("dicom", read_only=True) as opened:
        associations = {row.id: row for row in opened.exec(select(Association)).all()}
    by_id: dict[str, dict[str, Any]] = {run["id"]: run for run in runs}
    for kill in kills:
        if kill.flow_run_id is None or kill.association_id is None:
            continue
        run = by_id[str(kill.flow_run_id)]
        when = datetime.fromisoformat(run["state"]["timestamp"].replace("Z", "+00:00"))
        # One that had completed needs no other end, though its process still lived.
        ended_before = run["state_type"] in ("COMPLETED", "FAILED") and when <= kill.at
        if run["state_type"] != "CRASHED" and not ended_before:
            verdict.problems.append(f"killed run {run['name']} is {run['state_name']} since {when}, kill at {kill.at}")
        if kill.dispatches is not None and associations[kill.association_id].dispatches <= kill.dispatches:
            verdict.problems.append(
                f"association {kill.association_id} was not run again after {run['name']} was killed"
            )


def make_senders(
    gateway: RoughGateway, instances: Sequence[Instance], address: tuple[str, int], *, count: int, seed: int
) -> list[StoreSender]:
    """Modalities that share the instances among them; the gateway is judged by all it was ever sent."""
    logs = instances[0].path.parent.with_name(f"{instances[0].path.parent.name}-logs")
    logs.mkdir()
    senders = [
        StoreSender(f"MODALITY{number}", address, instances[number::count], logs, seed + number)
        for number in range(count)
    ]
    gateway.senders += senders
    return senders
