"""A power cut after every single step, then another run: the end is that of one clean run."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from tasks.dicom.core.tables import DeliveryState
from tasks.dicom.disposal import dispose_file
from tasks.dicom.dustbin import clean_dustbin, finish_dustbin_moves, restore_file, sweep_dustbin
from tasks.dicom.quarantine import quarantine_file, release_from_quarantine
from tests.dicom.disposal.conftest import Clock
from tests.dicom.disposal.gateway import DEAD, NOW, VERIFIED, Gateway, sha256

#: More steps than any of the operations has.
MOST_STEPS = 60


class PowerCut(BaseException):
    """The process is gone: not an `Exception`, so that nothing handles it."""


@contextmanager
def power_cut_after(step: int) -> Iterator[None]:
    """Let the first `step` effects on disk and ledger happen, and nothing after them."""
    done = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal done
            if done >= step:
                # Neither does a dead process tidy up in its `finally` clauses.
                raise PowerCut
            result = real(*args, **kwargs)
            done += 1
            if done == step:
                raise PowerCut
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("rename", "replace", "unlink", "mkdir", "fsync", "link", "rmdir"):
            patch.setattr(os, name, counted(getattr(os, name)))
        patch.setattr(Session, "commit", counted(Session.commit))
        yield


def across_disks(patch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def refuse(source: Any, target: Any, **options: Any) -> None:
        if str(target).endswith(".dcm") and not str(source).endswith(".part"):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target, **options)

    patch.setattr(os, "rename", refuse)


def clean_and_sweep(_key: UUID) -> None:
    clean_dustbin.fn(dry_run=False)
    sweep_dustbin.fn(dry_run=False)


def quarantine_it(key: UUID) -> None:
    quarantine_file.fn(key, "not a DICOM file")


def restore(key: UUID) -> None:
    # A run that finds the restore complete has nothing to do; the command would say so.
    finish_dustbin_moves.fn()


def begin_restore(key: UUID) -> None:
    restore_file(key)


def release(key: UUID) -> None:
    release_from_quarantine(key)


def binned(gateway: Gateway, clock: Clock, key: UUID) -> None:
    dispose_file.fn(key)


def marked(gateway: Gateway, clock: Clock, key: UUID) -> None:
    dispose_file.fn(key)
    clock.now = NOW + timedelta(days=31)
    clean_dustbin.fn(dry_run=False)
    clock.now = NOW + timedelta(days=33)


def received(gateway: Gateway, clock: Clock, key: UUID) -> None:
    return None


Preparation = Callable[[Gateway, Clock, UUID], None]
Operation = Callable[[UUID], Any]
#: Name -> deliveries, whether morphed, preparation, operation, how it is run again, and the fewest steps it has.
CASES: dict[str, tuple[dict[str, DeliveryState], bool, Preparation, Operation, Operation, int]] = {
    "to the dustbin": (VERIFIED, False, received, dispose_file.fn, dispose_file.fn, 10),
    "to the dustbin, staged": (VERIFIED, True, received, dispose_file.fn, dispose_file.fn, 10),
    "to quarantine, not delivered": (DEAD, False, received, dispose_file.fn, dispose_file.fn, 8),
    "to quarantine, unreadable": ({}, False, received, quarantine_it, quarantine_it, 7),
    "out of quarantine to the dustbin": (DEAD, False, binned, dispose_file.fn, dispose_file.fn, 10),
    "out of the dustbin": (VERIFIED, False, binned, begin_restore, restore, 5),
    "out of quarantine": (DEAD, False, binned, release, release, 5),
    "deleted": (VERIFIED, False, marked, clean_and_sweep, clean_and_sweep, 5),
}


def end_state(gateway: Gateway, key: UUID, content: bytes, sop: str) -> object:
    """Everything that a run leaves of one file, with what differs between two files taken out."""

    def plain(text: str) -> str:
        for given, name in ((str(key), "KEY"), (sha256(content), "SHA"), (sha256(b"morphed " + content), "OUT")):
            text = text.replace(given, name)
        return text.replace(f"/{sop}/", "/SOP/").replace(f'"{sop}"', '"SOP"')

    receipt = gateway.receipt(key)
    association = str(receipt.association_id)
    rows: list[dict[str, Any]] = [receipt.model_dump(mode="json", exclude={"association_id", "output_id"})]
    if receipt.output_id is not None:
        rows.append(gateway.output(key).model_dump(mode="json", exclude={"id", "created_at"}))
    files: dict[str, str] = {}
    for path in gateway.files():
        raw = (gateway.home / path).read_bytes()
        if path.endswith(".json") and str(key).encode() in raw:
            # The association it came in with has an id of its own.
            lines = [line for line in raw.decode().splitlines() if '"association_id"' not in line]
            files[plain(path)] = plain("\n".join(lines).replace(association, "ASSOCIATION"))
        elif raw.endswith(content):
            files[plain(path)] = "the file"
    if gateway.has_entry(key):
        rows.append(gateway.entry(key).model_dump(mode="json", exclude={"id"}))
    return [plain(json.dumps(row, sort_keys=True)) for row in rows], files


@pytest.mark.parametrize("disks", ["one disk", "two disks"])
@pytest.mark.parametrize("case", CASES)
def test_a_power_cut_after_any_step(gateway: Gateway, clock: Clock, case: str, disks: str) -> None:
    deliveries, morphed, prepare, operate, again, fewest = CASES[case]

    def one(number: int, *, cut: int | None) -> tuple[object, bool]:
        clock.now = NOW
        content, sop = b"instance %06d" % number, f"1.2.{100000 + number}"
        key = gateway.receive(content, deliveries=deliveries, modified=morphed, sop=sop)
        prepare(gateway, clock, key)
        if case == "out of quarantine to the dustbin":
            gateway.deliver(key, viewer=DeliveryState.VERIFIED)
        with pytest.MonkeyPatch.context() as patch:
            if disks == "two disks":
                across_disks(patch)
            cut_short = False
            if cut is None:
                operate(key)
            else:
                try:
                    with power_cut_after(cut):
                        operate(key)
                except PowerCut:
                    cut_short = True
            if cut_short and not _is_over(gateway, case, key):
                again(key)
        return end_state(gateway, key, content, sop), cut_short

    expected, _ = one(0, cut=None)
    for step in range(1, MOST_STEPS):
        found, cut_short = one(step, cut=step)
        assert found == expected, f"after step {step}"
        if not cut_short:
            assert step > fewest
            return
    pytest.fail("the operation never ended")


def _is_over(gateway: Gateway, case: str, key: UUID) -> bool:
    """Releasing twice is an error, not a repetition: a run cut off after its last commit is over."""
    return case == "out of quarantine" and gateway.receipt(key).state.value == "RECEIVED"
