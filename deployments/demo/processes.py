"""Sandbox programs as processes of their own: started, spoken to through one line of JSON, stopped."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class SandboxError(Exception):
    """A sandbox program did not do its part; the text ends with what it said."""


@contextmanager
def running(module: str, *arguments: str, log: Path) -> Iterator[dict[str, Any]]:
    """Run `python -m module` until the block ends; gives the line of JSON it prints when it is ready.

    Raises:
        SandboxError: it ended before that.
    """
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert process.stdout is not None  # noqa: S101 - asked for above
    try:
        line = process.stdout.readline()
        if not line:
            raise SandboxError(f"{module} ended with code {process.wait()}: {_tail(log)}")
        yield json.loads(line)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def run(
    module: str, *arguments: str, log: Path, environment: Mapping[str, str] | None = None, allowed: Sequence[int] = (0,)
) -> dict[str, Any]:
    """Run `python -m module` to its end; gives the line of JSON it prints last.

    Raises:
        SandboxError: its exit code is not one of `allowed`, or it printed no JSON.
    """
    with log.open("ab") as errors:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **(environment or {})},
            check=False,
        )
    lines = done.stdout.strip().splitlines()
    if done.returncode not in allowed or not lines:
        raise SandboxError(f"{module} ended with code {done.returncode}: {_tail(log)}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:].strip() or "it said nothing"
