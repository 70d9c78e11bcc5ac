"""Full disks, full backlogs, TLS, and the end of a listener that is at work."""

import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deployments.services.dicom_listener import alerts, gauge
from deployments.services.dicom_listener.tls import TlsConfigurationError, server_context
from tasks.dicom.core.backpressure import Level, Load, Pressure
from tests.services.dicom_gateway import Gateway, ended, eventually, receipts
from tests.services.dicom_sender import AbortedError, RejectedError, Sender

Start = Callable[..., Gateway]


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    running: list[Gateway] = []

    def starting(**config: Any) -> Gateway:
        running.append(Gateway(**config))
        return running[-1]

    yield starting
    for each in running:
        each.listener.stop(2)


def test_above_the_hard_watermark_nothing_is_accepted_and_below_it_everything(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = {"free": 1000}
    monkeypatch.setattr(gauge, "free_disk", lambda _folder: (disk["free"], 1000))
    gateway = start(soft_free_percent=50, hard_free_percent=10)
    with Sender(gateway.address) as sender:
        assert sender.store(b"first") == 0x0000
        disk["free"] = 400
        assert sender.store(b"second") == 0x0000
        disk["free"] = 50
        assert sender.store(b"third") == 0xA700
        with pytest.raises(RejectedError) as caught, Sender(gateway.address):
            pass
        assert caught.value.why == (2, 3, 2)
        disk["free"] = 1000
        assert sender.store(b"fourth") == 0x0000
        sender.release()
    assert [pressure.level for pressure in gateway.pressures] == [Level.SOFT, Level.HARD, Level.NORMAL]
    assert len(receipts()) == len(gateway.spooled()) == 3


def test_a_backlog_rejects_like_a_full_disk(start: Start) -> None:
    gateway = start(soft_backlog=1, hard_backlog=2)
    with Sender(gateway.address) as sender:
        assert [sender.store(b"data") for _ in range(3)] == [0x0000, 0x0000, 0xA700]
    with pytest.raises(RejectedError) as caught, Sender(gateway.address):
        pass
    assert caught.value.why == (2, 3, 2)


def test_the_backlog_survives_a_restart(start: Start) -> None:
    first = start(hard_backlog=2)
    with Sender(first.address) as sender:
        assert sender.store(b"data") == sender.store(b"data") == 0x0000
        sender.release()
    with pytest.raises(RejectedError), Sender(start(hard_backlog=2).address):
        pass


def test_the_alert_says_what_and_nothing_about_whom() -> None:
    event = alerts.event(Pressure(Level.HARD, Load(5, 100, 7), ("5.0% of the disk is free, less than 10%",)), "QUINTET")
    assert event["event"] == "quintet.dicom.pressure"
    assert event["resource"] == {
        "prefect.resource.id": "quintet.dicom.listener.QUINTET",
        "prefect.resource.name": "DICOM listener QUINTET",
    }
    assert event["payload"] == {
        "level": "HARD",
        "reasons": ["5.0% of the disk is free, less than 10%"],
        "free_bytes": 5,
        "free_percent": 5.0,
        "backlog": 7,
    }


@pytest.fixture
def small_disk(home: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A real file system of 2 MB under the home."""
    folder = home / request.param
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    import os

    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode != 0:
        if os.environ.get("CI"):
            pytest.fail("CI must be able to mount a tmpfs")
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("small_disk", ["dicom/spool", "dicom"], indirect=True)
def test_a_full_disk_refuses_leaves_nothing_and_recovers_by_itself(small_disk: Path, home: Path) -> None:
    gateway = Gateway()
    try:
        filler = small_disk / "filler"
        with Sender(gateway.address) as sender:
            assert sender.store(b"first", uid="1.1") == 0x0000
            with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
                while True:
                    file.write(b"\0" * 4096)
            for number in range(3):
                assert sender.store(b"\1" * 100_000, uid=f"1.2.{number}") == 0xA700
            with Sender(gateway.address) as other:
                assert other.store(b"\1" * 100_000, uid="1.3") == 0xA700
                other.release()
            kept = [name for name in gateway.spooled() if name != "filler"]
            assert kept == [f"{row.id}.dcm" for row in receipts()]
            assert len(kept) == 1
            filler.unlink()
            assert sender.store(b"\1" * 100_000, uid="1.2.9") == 0x0000
            sender.release()
        assert set(ended()) == {"released"}
        assert sorted(gateway.spooled()) == sorted(f"{row.id}.dcm" for row in receipts())
        assert len(receipts()) == 2
    finally:
        gateway.listener.stop(2)
        from blocks.engine import dispose_engines, engine

        engine("dicom").dispose()
        dispose_engines()


def test_stopping_finishes_the_message_under_way(start: Start) -> None:
    gateway = start()
    with Sender(gateway.address) as sender, Sender(gateway.address) as idle:
        assert sender.store(b"first", uid="1.1") == 0x0000
        sender.command(uid="1.2")
        sender.data(b"half ", last=False)
        eventually(lambda: any(name.endswith(".part") for name in gateway.spooled()))
        stopping = threading.Thread(target=gateway.listener.stop)
        stopping.start()
        with pytest.raises(AbortedError):
            idle.status()
        sender.data(b"and half")
        assert sender.status() == 0x0000
        with pytest.raises(AbortedError):
            sender.status()
        stopping.join(30)
    assert ended() == ["aborted"]
    assert sorted(gateway.spooled()) == sorted(f"{row.id}.dcm" for row in receipts())
    assert len(receipts()) == 2
    assert not (gateway.home / "listener.json").exists()


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def client_context(server: Path, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(server))
    if own is not None:
        context.load_cert_chain(*own)
    return context


def test_tls_with_client_certificates(start: Start, tmp_path: Path) -> None:
    server, client = certificate(tmp_path, "server"), certificate(tmp_path, "client")
    stranger = certificate(tmp_path, "stranger")
    gateway = start(tls_certificate=server[0], tls_key=server[1], tls_client_ca=client[0])
    with Sender(gateway.address, tls=client_context(server[0], client)) as sender:
        assert sender.store(b"\1" * 300_000) == 0x0000
        sender.release()
    for wrong in (None, stranger):
        with pytest.raises((AbortedError, OSError)), Sender(gateway.address, tls=client_context(server[0], wrong)):
            pass
    with pytest.raises((AbortedError, OSError)), Sender(gateway.address):
        pass
    assert len(receipts()) == 1


def test_a_peer_that_never_shakes_hands_holds_up_nobody(start: Start, tmp_path: Path) -> None:
    import socket

    server = certificate(tmp_path, "server")
    gateway = start(tls_certificate=server[0], tls_key=server[1])
    with (
        socket.create_connection(gateway.address),
        Sender(gateway.address, tls=client_context(server[0])) as sender,
    ):
        assert sender.store(b"data") == 0x0000
        sender.release()


def test_wrong_certificate_files_are_clear_errors(tmp_path: Path) -> None:
    good = certificate(tmp_path, "server")
    (tmp_path / "letter.pem").write_text("not a certificate")
    with pytest.raises(TlsConfigurationError, match=r"absent\.pem.*No such file"):
        server_context(tmp_path / "absent.pem", None, None)
    with pytest.raises(TlsConfigurationError, match=r"letter\.pem"):
        server_context(tmp_path / "letter.pem", None, None)
    with pytest.raises(TlsConfigurationError, match=r"client authority .*letter\.pem"):
        server_context(*good, tmp_path / "letter.pem")
