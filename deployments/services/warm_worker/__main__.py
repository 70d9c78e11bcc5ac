"""Run a warm worker.

    python -m deployments.services.warm_worker --pool quintet [--work-queue QUEUE ...] [--name NAME]

SIGTERM or Ctrl-C: take no more runs, ask those of deployments tagged `long-lived` to end by themselves, wait for all
that run (`--drain-seconds`), end the rest as Crashed. A second signal does not wait.
"""

import argparse
import asyncio
import os
import signal
from contextlib import suppress

# Polling is the fallback and finds what comes due by the clock; new runs are heard of by events (see `wakeup`).
QUERY_SECONDS = "5"


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m deployments.services.warm_worker", description=__doc__)
    parser.add_argument("--pool", required=True, help="work pool of type `warm`")
    parser.add_argument("--work-queue", action="append", default=[], help="serve only this queue (may be repeated)")
    parser.add_argument("--standby-queue", action="append", default=[], help="let this queue's own worker go first")
    parser.add_argument("--name", help="name of the worker; by default a random one")
    parser.add_argument("--await-pool", action="store_true", help="wait for the pool instead of making it")
    parser.add_argument("--limit", type=int, help="runs at once; limits on queues are the better way")
    parser.add_argument("--drain-seconds", type=float, default=60, help="time for runs to finish at the end")
    parser.add_argument("--preload", action="append", default=[], help="package to import beforehand [flows]")
    return parser.parse_args()


async def work(options: argparse.Namespace) -> None:
    """Serve the pool until a signal comes."""
    from deployments.services.warm_worker.worker import WarmWorker

    worker = WarmWorker(
        options.pool,
        work_queues=options.work_queue,
        standby_queues=options.standby_queue,
        await_pool=options.await_pool,
        name=options.name,
        limit=options.limit,
        drain_seconds=options.drain_seconds,
        preload=options.preload or ["flows"],
    )
    serving = asyncio.ensure_future(worker.start())
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.hurry)
        serving.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    with suppress(asyncio.CancelledError):
        await serving


def main() -> None:
    """The command."""
    os.environ.setdefault("PREFECT_WORKER_QUERY_SECONDS", QUERY_SECONDS)
    asyncio.run(work(arguments()))


if __name__ == "__main__":
    main()
