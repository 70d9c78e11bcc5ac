"""Applies the project to a server that is just starting: imports while it does, then waits for it.

    python -m deployments.up.bring_up [--recreate-work-pool]

Prints what changed, one line each. `PREFECT_API_URL` names the server.
"""

import asyncio
import sys
import time

import httpx

# A first start migrates Prefect's database; on a slow disk that takes its time.
WAIT_SECONDS = 180.0


def main() -> int:
    """Wait, apply, say what changed; exit code as `quintet apply`."""
    from prefect.settings import PREFECT_API_URL

    from deployments.apply import apply_all
    from deployments.errors import expected

    wait_for_api(str(PREFECT_API_URL.value()))
    try:
        asyncio.run(apply_all(report=_report, recreate_work_pool="--recreate-work-pool" in sys.argv[1:]))
    except Exception as error:
        told = expected(error)
        if told is None:
            raise
        print(told[0], file=sys.stderr)  # noqa: T201
        return told[1]
    return 0


def _report(change: object) -> None:
    print(change, flush=True)  # noqa: T201


def wait_for_api(url: str, seconds: float = WAIT_SECONDS) -> None:
    """Wait until the server answers, or until the time is over: what comes then says so better."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health", timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
