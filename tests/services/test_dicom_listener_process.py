"""The listener as a process: ready, killed, alone without Prefect, and with DCMTK's clients."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from blocks.settings import settings
from deployments.services.dicom_listener import __main__
from tasks.dicom.core.header import content_sha256
from tasks.dicom.core.tables import AssociationState
from tests.services.dicom_gateway import (
    Gateway,
    address_of,
    associations,
    ended,
    eventually,
    make_ledger,
    receipts,
    start_process,
)
from tests.services.dicom_sender import AbortedError, Sender

Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def spawn(home: Path) -> Iterator[Spawn]:
    running: list[subprocess.Popen[str]] = []
    make_ledger()

    def spawning(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
        running.append(start_process(home, *arguments, **environment))
        return running[-1]

    yield spawning
    for each in running:
        each.kill()
        each.communicate()


def sample(name: str) -> str:
    return str(get_testdata_file(name, download=False))


def test_it_says_where_it_listens_and_ends_cleanly(spawn: Spawn, home: Path) -> None:
    process = spawn("--no-dispatch")
    address = address_of(process)
    said = json.loads((home / "dicom" / "listener.json").read_text())
    assert said == {"host": "127.0.0.1", "port": address[1], "pid": process.pid, "ae_title": "QUINTET"}
    with Sender(address) as sender:
        assert sender.store(b"data") == 0x0000
        process.send_signal(signal.SIGTERM)
        with pytest.raises(AbortedError):
            sender.status()
    assert process.wait(30) == 0
    assert not (home / "dicom" / "listener.json").exists()
    assert [(row.state, row.ended_by) for row in associations()] == [(AssociationState.READY, "aborted")]


def test_it_receives_while_prefects_api_is_away(spawn: Spawn) -> None:
    process = spawn(PREFECT_API_URL="http://127.0.0.1:9/api")
    with Sender(address_of(process)) as sender:
        assert [sender.store(b"data", uid=f"1.{number}") for number in range(20)] == [0x0000] * 20
        sender.release()
    assert ended() == ["released"]
    assert len(receipts()) == 20
    assert associations()[0].dispatched_at is None
    assert process.poll() is None


def complaint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What a listener says that cannot start; in this process, which keeps its own signals and logs."""
    monkeypatch.setattr(signal, "signal", lambda _number, _handler: None)
    monkeypatch.setattr(__main__, "_configure_logging", lambda: None)
    assert __main__.main(["--no-dispatch"]) == 1
    return capsys.readouterr().err


def test_without_tables_it_says_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "run `quintet apply` first" in complaint(monkeypatch, capsys)


def test_a_corrupt_ledger_is_a_clear_error(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (settings().domain_home("dicom") / "dicom.db").write_bytes(b"this is no database" * 100)
    assert "is damaged" in complaint(monkeypatch, capsys)


def test_an_unusable_home_is_a_clear_error(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "dicom").write_text("a file where the folder should be")
    assert f"the home {home} cannot be used" in complaint(monkeypatch, capsys)


def send_until_lost(address: tuple[str, int], seed: int, acknowledged: set[str]) -> None:
    """Send until the connection is gone; collects the hashes of what was acknowledged."""
    random_bytes = random.Random(seed)
    try:
        with Sender(address) as sender:
            while True:
                data = random_bytes.randbytes(random_bytes.randrange(10, 60_000))
                if sender.store(data, uid=f"1.{random_bytes.getrandbits(60)}") == 0x0000:
                    acknowledged.add(hashlib.sha256(data).hexdigest())
    except (AbortedError, OSError):
        return


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_moment_it_keeps_all_it_acknowledged(spawn: Spawn, home: Path, seed: int) -> None:
    process = spawn("--no-dispatch")
    address = address_of(process)
    acknowledged: list[set[str]] = [set() for _ in range(3)]
    threads = [
        threading.Thread(target=send_until_lost, args=(address, seed * 10 + number, mine))
        for number, mine in enumerate(acknowledged)
    ]
    for each in threads:
        each.start()
    wanted = random.Random(seed).randrange(5, 40)
    eventually(lambda: sum(map(len, acknowledged)) >= wanted)
    process.kill()
    for each in threads:
        each.join(30)
        assert not each.is_alive()
    process.wait(30)
    address_of(spawn("--no-dispatch"))
    there = receipts()
    assert set.union(*acknowledged) <= {row.content_sha256 for row in there}
    assert all(content_sha256(home / "dicom" / row.path) == row.content_sha256 for row in there)
    assert sorted(path.name for path in (home / "dicom" / "spool").iterdir()) == sorted(
        f"{row.id}.dcm" for row in there
    )
    assert {row.state for row in associations()} == {AssociationState.READY}
    # At most one instance of each association was whole and not yet acknowledged.
    assert len(there) - len(set.union(*acknowledged)) <= 3


@pytest.fixture
def dcmtk() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    for tool in ("echoscu", "storescu"):
        if not shutil.which(tool, path="/usr/bin"):
            if os.environ.get("CI"):
                pytest.fail("CI must have DCMTK")
            pytest.skip("needs the Debian package dcmtk")

    def run(tool: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([f"/usr/bin/{tool}", *arguments], capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture
def gateway(home: Path) -> Iterator[Gateway]:
    running = Gateway()
    yield running
    running.listener.stop(2)


@pytest.mark.debian
def test_dcmtk_echoes_and_stores_in_several_syntaxes(
    gateway: Gateway, dcmtk: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    where = (gateway.address[0], str(gateway.address[1]))
    assert dcmtk("echoscu", *where).returncode == 0
    sent = {
        "CT_small.dcm": "-xe",
        "MR_small_implicit.dcm": "-xi",
        "MR_small_bigendian.dcm": "-xb",
        "image_dfl.dcm": "-xd",
        "SC_rgb_jpeg_gdcm.dcm": "-xs",
        "JPEG-lossy.dcm": "-xx",
        "693_J2KI.dcm": "-xw",
        "MR_small_jpeg_ls_lossless.dcm": "-xt",
        "MR_small_RLE.dcm": "-xr",
    }
    for name, option in sent.items():
        said = dcmtk("storescu", option, *where, sample(name))
        assert said.returncode == 0, said.stderr
    assert ended() == ["released"] * len(sent)
    assert len({row.transfer_syntax_uid for row in receipts()}) == len(sent)


@pytest.mark.debian
def test_dcmtk_aborting_keeps_what_was_acknowledged(
    gateway: Gateway, dcmtk: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    files = [sample("CT_small.dcm"), sample("MR_small.dcm")]
    dcmtk("storescu", "--abort", gateway.address[0], str(gateway.address[1]), *files)
    assert ended() == ["aborted"]
    assert len(receipts()) == 2
    assert sorted(gateway.spooled()) == sorted(f"{row.id}.dcm" for row in receipts())
