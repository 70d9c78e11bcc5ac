"""Telling somebody: a critical log line, and an event for Prefect's automations if its API can be reached.

The event is one HTTP request in a thread of its own. Prefect itself is not imported: that would cost the listener a
hundred megabytes, and its client waits for an API that is away.
"""

import logging
import os
import threading
from datetime import UTC, datetime
from uuid import uuid4

from tasks.dicom.core.backpressure import Level, Pressure

log = logging.getLogger("quintet.listener")

#: Name of the event in automations.
EVENT = "quintet.dicom.pressure"
_TIMEOUT_SECONDS = 5.0


def report_pressure(pressure: Pressure, listener: str) -> None:
    """Log a change of the level and send the event; returns at once.

    Args:
        pressure: the new level with its reasons.
        listener: the listener's AE title.
    """
    why = "; ".join(pressure.reasons)
    if pressure.level is Level.NORMAL:
        log.warning("disk and backlog are back to normal")
    elif pressure.level is Level.SOFT:
        log.critical("nearing the limit: %s", why)
    else:
        log.critical("accepting nothing more until there is room: %s", why)
    api = os.environ.get("PREFECT_API_URL")
    if api:
        threading.Thread(target=_send, args=(api, event(pressure, listener)), name="alert", daemon=True).start()


def event(pressure: Pressure, listener: str) -> dict[str, object]:
    """The event that stands for a change of the level."""
    return {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": EVENT,
        "resource": {
            "prefect.resource.id": f"quintet.dicom.listener.{listener}",
            "prefect.resource.name": f"DICOM listener {listener}",
        },
        "payload": {
            "level": pressure.level.value,
            "reasons": list(pressure.reasons),
            "free_bytes": pressure.load.free_bytes,
            "free_percent": round(pressure.load.free_percent, 1),
            "backlog": pressure.load.backlog,
        },
    }


def _send(api: str, what: dict[str, object]) -> None:
    import httpx

    key = os.environ.get("PREFECT_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.post(f"{api.rstrip('/')}/events", json=[what], headers=headers, timeout=_TIMEOUT_SECONDS)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        log.warning("the alert event could not be sent: %s", type(error).__name__)
