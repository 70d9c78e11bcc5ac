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

ASSUMED = parse_windows("20:1,100:120")


async def main(base_url: str, at_once: int) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)

    async def worker(client: RiotClient) -> None:
        while True:
            await client.platform_status("na1")

    ledger = RateLedger("benchmark", ASSUMED)
    key = SecretStr(os.environ["RIOT_KEY"])
    async with RiotClient(key, base_url, ledger, requests_at_once=at_once) as client:
        workers = [asyncio.create_task(worker(client)) for _ in range(at_once)]
        waiting = asyncio.create_task(ended.wait())
        done, _ = await asyncio.wait([waiting, *workers], return_when=asyncio.FIRST_COMPLETED)
        for task in (waiting, *workers):
            task.cancel()
        await asyncio.gather(waiting, *workers, return_exceptions=True)
        for task in done - {waiting}:
            task.result()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
