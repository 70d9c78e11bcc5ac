"""The command line as a person meets it: help, exit codes, and errors without tracebacks."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE, temporary_settings

from blocks.settings import settings
from deployments import catalogue
from deployments.cli import main
from deployments.errors import ServerUnreachableError
from deployments.migrations import DOMAINS, migrate
from tests.servers import free_port


@dataclass(frozen=True)
class Answer:
    """What a run of the command line left."""

    code: int
    out: str
    err: str


Quintet = Callable[..., Answer]


@pytest.fixture
def quintet(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Quintet:
    """Runs the command line in this process, with a home of its own and no server unless one is given."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str, api_url: str | None = None, **environment: str) -> Answer:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["quintet", *arguments])
        settings.cache_clear()
        with temporary_settings({PREFECT_API_URL: api_url}), pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return Answer(int(end.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address at which nothing listens."""
    yield f"http://127.0.0.1:{free_port()}/api"


def test_help_lists_every_command_and_imports_none_of_them() -> None:
    script = (
        "import sys\n"
        "sys.argv = ['quintet', '--help']\n"
        "from deployments.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "print([m for m in ('prefect', 'pydicom', 'sqlalchemy', 'alembic') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
    for command in ("up", "demo", "apply", "check", "status", "doctor", "dicom", "league"):
        assert f" {command} " in answer.stdout


@pytest.mark.parametrize("command", ["up", "demo", "apply", "check", "status", "doctor", "dicom", "league"])
def test_every_command_has_help(command: str, quintet: Quintet) -> None:
    answer = quintet(command, "--help")
    assert answer.code == 0
    assert f"quintet {command} " in answer.out


def test_version(quintet: Quintet) -> None:
    answer = quintet("--version")
    assert (answer.code, answer.out.split()[0]) == (0, "quintet")
    assert "prefect 3.8" in answer.out


@pytest.mark.parametrize("command", ["apply", "check", "status"])
def test_without_a_server_it_says_how_to_start_one(command: str, quintet: Quintet, nowhere: str) -> None:
    answer = quintet(command, api_url=nowhere)
    assert answer.code == 1
    assert answer.err.startswith(f"error: no Prefect server answers at {nowhere}")
    assert "quintet up" in answer.err


def test_without_an_address_no_server_is_started_behind_ones_back(
    quintet: Quintet, nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.apply.server.DEFAULT_API_URL", nowhere)
    with temporary_settings({PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: True}):
        answer = quintet("status", api_url=None)
    assert answer.code == 1
    assert answer.err.startswith(f"error: no Prefect server answers at {nowhere}")


def test_debug_raises(monkeypatch: pytest.MonkeyPatch, home: Path, nowhere: str) -> None:
    monkeypatch.setattr(sys, "argv", ["quintet", "--debug", "status"])
    # Set by the command itself, for the processes it starts; put back after the test.
    monkeypatch.setenv("QUINTET_DEBUG", "0")
    with temporary_settings({PREFECT_API_URL: nowhere}), pytest.raises(ServerUnreachableError):
        main()


def test_a_wrong_setting_is_named_as_it_is_set(quintet: Quintet) -> None:
    answer = quintet("apply", QUINTET_DICOM__RECEIVE__PORT="99999")
    assert answer.code == 2
    assert "QUINTET_DICOM__RECEIVE__PORT: Input should be less than or equal to 65535" in answer.err


def test_a_misspelt_setting_is_named_with_the_one_that_is_meant(quintet: Quintet) -> None:
    answer = quintet("apply", QUINTET_DICOM__RECEIVE__PROT="11113")
    assert answer.code == 2
    assert "QUINTET_DICOM__RECEIVE__PROT: no such setting; did you mean QUINTET_DICOM__RECEIVE__PORT?" in answer.err


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("QUINTET_DICOM__RECEIVE__ALLOWED_CALLING_AES", "MODALITY1", "no JSON list"),
        ("QUINTET_DICOM__RECEIVE__ALLOWED_NETWORKS", '["10.0.0.1/8"]', "Input is not a valid IPv4 network; "),
    ],
)
def test_a_wrong_list_is_named_as_it_is_set(name: str, value: str, said: str, quintet: Quintet) -> None:
    answer = quintet("apply", **{name: value})
    assert answer.code == 2
    assert f"\n  {name}: {said}" in answer.err


def test_the_doctor_tells_wrong_settings_once(quintet: Quintet) -> None:
    answer = quintet("doctor", "--json", QUINTET_LOG_FORMAT="loud")
    assert answer.code == 1
    (wrong,) = [finding for finding in json.loads(answer.out) if not finding["ok"]]
    assert wrong["name"] == "settings" and "QUINTET_LOG_FORMAT" in wrong["state"]


@pytest.mark.parametrize(
    "arguments", [("pause", "nowhere"), ("resume", "nowhere"), ("replay", "--all", "--to", "nowhere")]
)
def test_an_unknown_destination_is_named(arguments: tuple[str, ...], quintet: Quintet, home: Path) -> None:
    (home / "dicom" / "rules").mkdir(parents=True)
    migrate("dicom")
    answer = quintet("dicom", "deliveries", *arguments)
    assert answer.code == 1
    assert answer.err.startswith("error: no destination 'nowhere' in the rules")


def test_files_submitted_before_the_first_apply_are_not_blamed(quintet: Quintet, home: Path, tmp_path: Path) -> None:
    (tmp_path / "image.dcm").write_bytes(b"any")
    answer = quintet("dicom", "submit", str(tmp_path / "image.dcm"))
    assert answer.code == 1
    assert answer.err.startswith("error: the dicom database is not what this version of quintet needs")
    assert "run `quintet apply`" in answer.err
    assert list((home / "dicom" / "spool").iterdir()) == []


def test_an_unwritable_home_is_named(quintet: Quintet, home: Path) -> None:
    (home / "file").touch()
    answer = quintet("apply", QUINTET_HOME=str(home / "file" / "below"))
    assert answer.code == 1
    assert f"error: Not a directory: {home / 'file' / 'below'}" in answer.err
    assert "or set QUINTET_HOME" in answer.err


def test_a_damaged_ledger_is_named(quintet: Quintet, home: Path) -> None:
    (home / "dicom").mkdir()
    (home / "dicom" / "dicom.db").write_bytes(b"no database" * 500)
    answer = quintet("apply")
    assert answer.code == 1
    assert "dicom.db is damaged" in answer.err
    assert (home / "dicom" / "dicom.db").read_bytes() == b"no database" * 500


def test_a_misspelt_key_is_named_with_its_line(
    quintet: Quintet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = catalogue.prefect_yaml_path().read_text()
    line = text[: text.index("concurrency_limit:")].count("\n") + 1
    wrong = tmp_path / "prefect.yaml"
    wrong.write_text(text.replace("concurrency_limit:", "concurency_limit:", 1))
    monkeypatch.setattr(catalogue, "prefect_yaml_path", lambda: wrong)
    for command in ("check", "apply"):
        answer = quintet(command)
        assert answer.code == 2
        assert answer.err == (
            f"error: prefect.yaml:{line}: deployments.sweep_associations.concurency_limit: unknown key, "
            "did you mean `concurrency_limit`?\n"
        )


def test_a_wrong_prefect_is_named(quintet: Quintet, home: Path, nowhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.pins.version", lambda package: "3.9.1")
    assert quintet("apply", api_url=nowhere).code == 1
    assert list(home.iterdir()) == [], "nothing was migrated"
    answer = quintet("status", api_url=nowhere)
    assert answer.code == 1
    assert answer.err.startswith("error: the installed Prefect is version 3.9.1, and quintet needs prefect<3.9,>=3.8.")


def test_doctor_on_a_bare_machine(quintet: Quintet, home: Path, nowhere: str) -> None:
    answer = quintet("doctor", "--json", api_url=nowhere, QUINTET_DICOM__RECEIVE__PORT=str(free_port()))
    findings = {finding["name"]: finding for finding in json.loads(answer.out)}
    assert answer.code == 1
    # How full this machine's disk is, is not the test's business.
    wrong = {name for name, finding in findings.items() if not finding["ok"]} - {"disk"}
    assert wrong == {*(f"database {domain}" for domain in DOMAINS), "server", "port dicom"}
    assert findings["port dicom"]["advice"] == "`quintet up` starts the listener."
    assert not (home / "dicom" / "dicom.db").exists()
