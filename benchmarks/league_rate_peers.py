"""One peer, sending as much as its limiter lets it until it is ended; `league_rate.py` makes its environment.

The libraries that are a client (riotwatcher, pulsefire) are used as such. Those that only limit stand before plain
httpx: they are told the key's windows, which they cannot learn, and after a 429 a worker waits as long as it was told.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

Windows = list[tuple[int, int]]
Acquire = Callable[[], Awaitable[object]]


def riotwatcher(base_url: str, threads: int) -> None:
    from riotwatcher import ApiError, LolWatcher
    from riotwatcher._apis import UrlConfig

    watcher = LolWatcher(os.environ["RIOT_KEY"], default_status_v4=True)
    UrlConfig.root_url = base_url.replace("{route}", "{platform}")

    def work(_: int) -> None:
        while True:
            try:
                watcher.lol_status.platform_data("na1")
            except ApiError as error:
                if error.response.status_code != 429:
                    raise
                time.sleep(float(error.response.headers.get("Retry-After", 1)))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))


async def pulsefire(base_url: str, at_once: int) -> None:
    from aiohttp import ClientResponseError
    from pulsefire.clients import RiotAPIClient

    address = base_url.replace("{route}", "{region}")
    async with RiotAPIClient(base_url=address, default_headers={"X-Riot-Token": os.environ["RIOT_KEY"]}) as client:

        async def work() -> None:
            while True:
                try:
                    await client.get_lol_status_v4_platform_data(region="na1")
                except ClientResponseError as error:
                    if error.status != 429:
                        raise
                    await asyncio.sleep(1)

        await asyncio.gather(*(work() for _ in range(at_once)))


def limits_of(strategy: str, windows: Windows) -> Acquire:
    from limits import RateLimitItemPerSecond, aio

    store = aio.storage.MemoryStorage()
    kinds = {"fixed": aio.strategies.FixedWindowRateLimiter, "moving": aio.strategies.MovingWindowRateLimiter}
    limiter = kinds[strategy](store)
    items = [RateLimitItemPerSecond(limit, seconds) for limit, seconds in windows]
    lock = asyncio.Lock()

    async def acquire() -> None:
        async with lock:
            for item in items:
                while not await limiter.hit(item, "key"):
                    reset = (await limiter.get_window_stats(item, "key")).reset_time
                    await asyncio.sleep(max(0.005, reset - time.time()))

    return acquire


def pyrate_limiter(windows: Windows) -> Acquire:
    from pyrate_limiter import InMemoryBucket, Limiter, Rate

    limiter = Limiter(InMemoryBucket([Rate(limit, seconds * 1000) for limit, seconds in windows]))
    return lambda: limiter.try_acquire_async("key")


def aiolimiter(windows: Windows) -> Acquire:
    from aiolimiter import AsyncLimiter

    limiters = [AsyncLimiter(limit, seconds) for limit, seconds in windows]

    async def acquire() -> None:
        for limiter in limiters:
            await limiter.acquire()

    return acquire


async def behind(acquire: Acquire, base_url: str, at_once: int) -> None:
    import httpx

    address = base_url.replace("{route}", "na1") + "/lol/status/v4/platform-data"
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(headers={"X-Riot-Token": os.environ["RIOT_KEY"]}, limits=limits) as client:

        async def work() -> None:
            while True:
                await acquire()
                answer = await client.get(address)
                if answer.status_code == 429:
                    await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))
                else:
                    answer.raise_for_status()

        await asyncio.gather(*(work() for _ in range(at_once)))


async def start(name: str, base_url: str, windows: Windows, at_once: int) -> None:
    # Limiters are made inside the loop that they will run in.
    if name == "pulsefire":
        await pulsefire(base_url, at_once)
    elif name == "pyrate-limiter":
        await behind(pyrate_limiter(windows), base_url, at_once)
    elif name == "aiolimiter":
        await behind(aiolimiter(windows), base_url, at_once)
    else:
        await behind(limits_of(name.removeprefix("limits "), windows), base_url, at_once)


def main() -> None:
    name, base_url, key, at_once = sys.argv[1:]
    pairs = (each.split(":") for each in key.split(","))
    windows = sorted(((int(limit), int(seconds)) for limit, seconds in pairs), key=lambda window: window[1])
    if name.startswith("riotwatcher"):
        riotwatcher(base_url, int(name.partition(" x")[2]))
    else:
        asyncio.run(start(name, base_url, windows, int(at_once)))


if __name__ == "__main__":
    main()
