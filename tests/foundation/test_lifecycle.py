"""Life-cycle lines: start, completion and failure, counts but no data."""

import asyncio
import json
import logging

import pytest
from pydantic import BaseModel

from blocks.settings import settings
from tasks.foundation.lifecycle import logged


class Outcome(BaseModel):
    """A result with counts."""

    sent: int
    failed: int
    note: str = "DOE^JOHN"


@logged
def deliver(patient: str) -> Outcome:
    """Give an outcome or fail with a message that quotes its input."""
    if patient == "bad":
        raise ValueError(f"cannot send {patient}")
    return Outcome(sent=3, failed=1)


def test_completion_has_duration_and_counts_but_no_text(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="quintet"):
        deliver("DOE^JANE")
    start, completion = [record.getMessage() for record in caplog.records]
    assert start.startswith("start") and "task=deliver" in start
    assert "sent=3" in completion and "failed=1" in completion and "seconds=" in completion
    assert "DOE" not in caplog.text


def test_failure_names_the_kind_of_error_only(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="quintet"), pytest.raises(ValueError):
        deliver("bad")
    assert "error=ValueError" in caplog.text and "cannot send" not in caplog.text


@logged
async def deliver_later(patient: str) -> Outcome:
    """The same in a coroutine."""
    await asyncio.sleep(0)
    if patient == "bad":
        raise ValueError(f"cannot send {patient}")
    return Outcome(sent=3, failed=1)


async def test_a_coroutine_is_logged_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="quintet"):
        running = deliver_later("DOE^JANE")
        assert caplog.records == [], "it has not begun"
        await running
        with pytest.raises(ValueError):
            await deliver_later("bad")
    lines = [record.getMessage().split()[0] for record in caplog.records]
    assert lines == ["start", "completion", "start", "failure"]
    assert "sent=3" in caplog.text and "DOE" not in caplog.text and "cannot send" not in caplog.text


def test_lines_are_json_by_setting(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_LOG_FORMAT", "json")
    settings.cache_clear()
    try:
        with caplog.at_level(logging.INFO, logger="quintet"):
            deliver("x")
        assert json.loads(caplog.records[-1].getMessage())["sent"] == 3
    finally:
        settings.cache_clear()
