"""What becomes of runs when their worker stops: those that go on for ever are asked to end, all get time."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from uuid import UUID

from deployments.services.warm_worker.runs import WarmRun
from deployments.services.warm_worker.states import Logger

LOOK_SECONDS = 0.1
# Asked again and again: a run that is only starting hears it later.
ASK_SECONDS = 1.0


async def drain(runs: Mapping[UUID, WarmRun], seconds: Callable[[], float], logger: Logger) -> None:
    """Let runs finish, and end those that do not.

    Args:
        runs: of the worker; those that are over leave it.
        seconds: how long they have, which may become less meanwhile.
        logger: the worker's logger.
    """
    if runs:
        logger.info("Waiting up to %.0f s for %d run(s).", seconds(), len(runs))
    waited = next_ask = 0.0
    while runs and waited < seconds():
        if waited >= next_ask:
            next_ask += ASK_SECONDS
            for run in runs.values():
                if run.long_lived:
                    run.ask_to_end()
        await asyncio.sleep(LOOK_SECONDS)
        waited += LOOK_SECONDS
    rest = list(runs.values())
    for run in rest:
        logger.warning("Ending flow run %s: the worker stops.", run.flow_run.id)
    await asyncio.gather(*(run.end(5, as_cancelled=False) for run in rest))
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            await asyncio.gather(*(run.over.wait() for run in rest))
