import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pynetdicom
import pynetdicom.association
import pytest
from pynetdicom.dimse import DIMSEServiceProvider

from blocks import dimse_race
from blocks.dimse_association import Peer, associate, contexts_for
from tests.dicom_peers import running_peer

VERIFICATION = "1.2.840.10008.1.1"
ECHOES = 12


class _SlowCheckpoint(threading.Event):
    """The reactor is suspended just after it found the checkpoint set: the moment at which the race is lost."""

    def wait(self, timeout: float | None = None) -> bool:
        found = super().wait(timeout)
        # The reactor's thread is the association itself; that of the peer is left alone.
        if getattr(threading.current_thread(), "is_requestor", False):
            time.sleep(0.06)
        return found


class _Threading:
    Event = _SlowCheckpoint

    def __getattr__(self, name: str) -> Any:
        return getattr(threading, name)


@pytest.fixture
def lost_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays at the two places between which the response is lost."""
    send_msg = DIMSEServiceProvider.send_msg

    def send_and_pause(self: DIMSEServiceProvider, *arguments: Any) -> None:
        send_msg(self, *arguments)
        # The response is in the queue before the sender asks for it.
        if self.assoc.is_requestor:
            time.sleep(0.1)

    monkeypatch.setattr(pynetdicom.association, "threading", _Threading())
    monkeypatch.setattr(DIMSEServiceProvider, "send_msg", send_and_pause)


@pytest.fixture
def unmended() -> Iterator[None]:
    dimse_race.unmend()
    yield
    dimse_race.mend()


def answered_echoes(port: int) -> int:
    """How many of `ECHOES` C-ECHOs got their response."""
    peer = Peer("127.0.0.1", port, "SANDBOX", "QUINTET", timeout_seconds=2)
    answered = 0
    with associate(peer, contexts_for([(VERIFICATION, ["1.2.840.10008.1.2"])])) as association:
        while answered < ECHOES and association.is_established:
            if "Status" not in association.send_c_echo():
                break
            answered += 1
    return answered


def test_this_pynetdicom_is_one_whose_race_is_known() -> None:
    # A new release: does it still have the race (the next two tests)? Change RACY_VERSIONS or drop the module.
    assert pynetdicom.__version__ in dimse_race.RACY_VERSIONS
    assert dimse_race.mend()


@pytest.mark.usefixtures("lost_moments", "unmended")
def test_without_the_mend_responses_are_lost(tmp_path: Path) -> None:
    with running_peer(tmp_path) as peer:
        assert answered_echoes(peer.port) < ECHOES


@pytest.mark.usefixtures("lost_moments")
def test_with_it_none_are(tmp_path: Path) -> None:
    with running_peer(tmp_path) as peer:
        assert answered_echoes(peer.port) == ECHOES


def test_other_versions_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    dimse_race.unmend()
    try:
        stock = DIMSEServiceProvider.get_msg
        monkeypatch.setattr(pynetdicom, "__version__", "3.1.0")
        assert not dimse_race.mend()
        assert DIMSEServiceProvider.get_msg is stock
    finally:
        monkeypatch.undo()
        dimse_race.mend()
