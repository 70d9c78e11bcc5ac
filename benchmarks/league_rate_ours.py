"""Our client, sending as much as it may until it is ended; see `league_rate.py`.

The key comes in the variable RIOT_KEY, not on the command line, where everybody on the machine could read it.
"""

import asyncio
import os
import signal
import sys

from pydantic import SecretStr

from blocks.rate_ledger import RateLedger
from blocks.rate_window import parse_windows
from blocks.riot.client import RiotClient

# Longer than any round trip here.
ANSWER_SECONDS = 0.3
ASSUMED = parse_windows("20:1,100:120")


async def main(base_url: str, at_once: int) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)

    async def worker(client: RiotClient) -> None:
        while not ended.is_set():
            await client.platform_status("na1")

    ledger = RateLedger("benchmark", ASSUMED)
    key = SecretStr(os.environ["RIOT_KEY"])
    async with RiotClient(key, base_url, ledger, requests_at_once=at_once) as client:
        workers = [asyncio.create_task(worker(client)) for _ in range(at_once)]
        waiting = asyncio.create_task(ended.wait())
        await asyncio.wait([waiting, *workers], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        # As a worker that is stopped does: what is on its way is awaited, what waits for its turn is not.
        _, pending = await asyncio.wait(workers, timeout=ANSWER_SECONDS)
        for task in pending:
            task.cancel()
        for outcome in await asyncio.gather(*workers, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
