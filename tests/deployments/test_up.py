"""`quintet up`: what it starts, keeps alive and ends."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deployments.errors import WrongPrefectVersionError
from deployments.up import child as child_module
from deployments.up.child import Child, ChildSpec
from deployments.up.ports import PortInUseError, require_free
from deployments.up.supervisor import AlreadyRunningError, HomeError, Supervisor
from tests.league.conftest import riot

PATIENCE_SECONDS = 60.0
ROOT = Path(__file__).parent.parent.parent


def eventually(what: Callable[[], Any]) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        answer = what()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"never true: {what}")


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that runs until SIGTERM and then writes its name down."""
    (tmp_path / "program_of_the_test.py").write_text(
        "import signal, sys, time\n"
        "def end(*_):\n"
        "    open(sys.argv[2], 'a').write(sys.argv[1] + ' ')\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('runs', flush=True)\n"
        "while True: time.sleep(0.1)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "program_of_the_test"


@pytest.fixture
def events() -> list[str]:
    """What the supervisor told."""
    return []


@pytest.fixture
def supervisor(tmp_path: Path, events: list[str]) -> Iterator[Supervisor]:
    """A supervisor of an empty home."""
    made = Supervisor(tmp_path / "home", events.append)
    yield made
    hurry = threading.Event()
    hurry.set()
    made.stop(hurry)


def started(child: Child) -> int:
    """The child's pid once it says that it runs."""
    eventually(lambda: child.log.read_text().count("runs") == child.restarts + 1)
    assert child.pid is not None
    return child.pid


def test_a_child_that_dies_is_started_again(supervisor: Supervisor, program: str, events: list[str]) -> None:
    child = supervisor.start(ChildSpec("one", program, ("one", os.devnull)))
    before = started(child)
    os.kill(before, signal.SIGKILL)
    eventually(lambda: child.restarts == 1 and child.pid)
    assert child.pid != before
    assert any("one was ended by SIGKILL" in event and "0.5 s" in event for event in events)


def test_a_child_that_keeps_dying_waits_longer_each_time(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: list[str]
) -> None:
    (tmp_path / "dies_at_once.py").write_text("raise SystemExit(3)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    supervisor.start(ChildSpec("dying", "dies_at_once"))
    eventually(lambda: len(events) >= 2)
    assert "ended with code 3; starting it again in 0.5 s" in events[0]
    assert "in 1 s" in events[1]


def test_higher_stages_end_first(tmp_path: Path, program: str) -> None:
    order = tmp_path / "order"
    supervisor = Supervisor(tmp_path / "home", lambda event: None)
    children = [
        supervisor.start(ChildSpec(name, program, (name, str(order)), stage=stage))
        for name, stage in (("server", 0), ("listener", 2), ("worker", 1))
    ]
    pids = [started(child) for child in children]
    supervisor.stop(threading.Event())
    assert order.read_text().split() == ["listener", "worker", "server"]
    assert all(gone(pid) for pid in pids)


def test_a_large_log_is_turned_over_while_it_is_written(
    supervisor: Supervisor, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "LOG_BYTES", 4)
    child = supervisor.start(ChildSpec("one", program, ("one", os.devnull)))
    old = child.log.with_suffix(".log.1")
    eventually(old.exists)
    assert old.read_text() == "runs\n"
    assert child.log.read_text() == ""
    assert child.restarts == 0


def test_one_supervisor_for_a_home(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(AlreadyRunningError, match=f"process {os.getpid()}"):
        Supervisor(tmp_path / "home", lambda event: None)


def test_what_a_killed_supervisor_left_behind_is_ended(tmp_path: Path, program: str, events: list[str]) -> None:
    from dataclasses import asdict

    from deployments.processes import ProcessIdentity

    left = subprocess.Popen([sys.executable, "-m", program, "left", os.devnull], stdout=subprocess.PIPE)
    assert left.stdout is not None and left.stdout.readline() == b"runs\n"
    identity = ProcessIdentity.of(left.pid)
    assert identity is not None
    folder = tmp_path / "home" / "run"
    folder.mkdir(parents=True)
    stranger = asdict(identity) | {"pid": os.getpid(), "started": 1.0}  # a pid that was used again
    (folder / "children.json").write_text(json.dumps([asdict(identity), stranger]))
    supervisor = Supervisor(tmp_path / "home", events.append)
    assert left.wait(5) == 0
    left.stdout.close()
    assert events == ["ending 1 process(es) that an earlier `quintet up` left behind"]
    supervisor.stop(threading.Event())


def test_a_home_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match=r"file cannot be used: .*QUINTET_HOME"):
        Supervisor(tmp_path / "file", lambda event: None)


def test_a_port_in_use_is_told_with_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=rf"port {port} .*Prefect's server.*process {os.getpid()}.*`--port`"):
            require_free("127.0.0.1", port, purpose="Prefect's server", setting="`--port`")
    require_free("127.0.0.1", port, purpose="Prefect's server", setting="`--port`")


def test_an_address_of_another_machine_is_not_told_as_a_port_in_use() -> None:
    with pytest.raises(PortInUseError, match="Listen on an address of this machine"):
        require_free("192.0.2.1", 0, purpose="the DICOM listener", setting="`--port`")


def test_up_with_a_wrong_prefect_starts_and_writes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments.up import Stack

    monkeypatch.setattr("deployments.pins.version", lambda package: "3.9.1")
    with pytest.raises(WrongPrefectVersionError, match=r"is version 3\.9\.1, and quintet needs prefect"), Stack():
        raise AssertionError("it started")
    assert list(home.iterdir()) == []


def test_up_can_make_a_work_pool_of_another_type_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments import apply
    from deployments.up import bring_up

    asked: list[bool] = []

    async def apply_all(*, report: object, recreate_work_pool: bool) -> None:
        asked.append(recreate_work_pool)

    monkeypatch.setattr(apply, "apply_all", apply_all)
    monkeypatch.setattr(bring_up, "wait_for_api", lambda url: None)
    for arguments in ([], ["--recreate-work-pool"]):
        monkeypatch.setattr(sys, "argv", ["bring_up", *arguments])
        assert bring_up.main() == 0
    assert asked == [False, True]


@pytest.fixture
def user(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home directory, with nothing in it."""
    folder = home.parent / "user"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def terminal(**more: str) -> dict[str, str]:
    """The environment of a terminal in which nothing is said of Prefect but this."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | more


@pytest.fixture
def up(
    home: Path, user: Path, prefect_template: Path
) -> Iterator[Callable[..., tuple[subprocess.Popen[str], dict[str, Any]]]]:
    """Starts `quintet up` in a home of its own, with Prefect's schema already in place."""
    (home / "prefect").mkdir()
    for file in prefect_template.parent.glob(f"{prefect_template.name}*"):
        shutil.copy(file, home / "prefect" / file.name)
    settings = {
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
        "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "QUINTET_DICOM__RECEIVE__PORT": "0",
    }
    running: list[subprocess.Popen[str]] = []

    def start(*options: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        command = [sys.executable, "-m", "deployments.cli", "up", "--json", "--port", "0", *options]
        process = subprocess.Popen(
            command,
            env=terminal(**settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        if not line:
            raise AssertionError(process.stderr.read())
        ready: dict[str, Any] = json.loads(line)
        return process, ready

    yield start
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def test_up_starts_all_keeps_it_alive_and_ends_it(up: Any, home: Path) -> None:
    process, ready = up()
    children = ready["children"]
    assert set(children) == {"prefect-server", "worker", "worker-critical", "task-worker", "dicom-listener"}
    assert httpx.get(f"{ready['api']}/health").json() is True
    deployments = httpx.post(f"{ready['api']}/deployments/filter", json={}).json()
    assert "every-minute" in {deployment["name"] for deployment in deployments}
    with socket.create_connection((ready["listener"]["host"], ready["listener"]["port"]), timeout=5):
        pass
    os.kill(children["dicom-listener"], signal.SIGKILL)

    def others() -> list[int]:
        listed = [each["pid"] for each in json.loads((home / "run" / "children.json").read_text())]
        return listed if len(listed) == 5 and children["dicom-listener"] not in listed else []

    pids = eventually(others)
    process.send_signal(signal.SIGINT)
    assert process.wait(90) == 0
    assert all(gone(pid) for pid in {*pids, *children.values()})
    assert not (home / "run" / "children.json").exists()


def test_children_end_with_a_killed_up_which_can_be_started_again(up: Any, home: Path) -> None:
    process, ready = up("--no-workers", "--no-task-worker")
    assert set(ready["children"]) == {"prefect-server", "dicom-listener"}
    process.kill()
    process.wait()
    eventually(lambda: all(gone(pid) for pid in ready["children"].values()))
    process, again = up("--no-workers", "--no-task-worker", "--no-listener")
    assert set(again["children"]) == {"prefect-server"}
    assert again["listener"] is None


def test_a_background_task_of_another_terminal_is_run_and_followed_by_its_id(up: Any, home: Path) -> None:
    with riot(matches=4) as sandbox:
        _, ready = up("--no-workers", "--no-listener")
        # All that `up` says of other commands.
        environment = terminal(PREFECT_API_URL=ready["api"], QUINTET_HOME=str(home))

        def run(*command: str) -> str:
            arguments = [sys.executable, *command]
            done = subprocess.run(arguments, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
            return done.stdout

        handed_over = "import sys; from tasks.league import sync_player_data as task"
        handed_over += "; print(task.delay(*sys.argv[1:]).task_run_id)"
        run_id = run("-c", handed_over, sandbox.player["game_name"], sandbox.player["tag_line"]).split()[-1]

        def ended() -> bool:
            found = httpx.get(f"{ready['api']}/task_runs/{run_id}").json()
            return found.get("state_type") in ("COMPLETED", "FAILED", "CRASHED")

        eventually(ended)
        status = json.loads(run("-m", "deployments.cli", "status", run_id, "--json"))
    assert (status["state"], status["flow"], status["progress"]["step"]) == ("Completed", None, "done")


def test_up_says_which_port_is_taken(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        done = subprocess.run(
            [sys.executable, "-m", "deployments.cli", "up", "--port", port],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert f"port {port}" in done.stderr and "--port" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "run").exists()
