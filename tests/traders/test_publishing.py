"""Position changes reach a subscriber of a real Redis at least once, and by their ids exactly once, come what may."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest
from prefect.client.orchestration import get_client

from blocks.engine import session
from blocks.redis_channel import RedisChannel, RedisChannelError
from blocks.settings import settings
from tasks.traders import publishing
from tasks.traders.core.outbox import CHANNEL, Waiting, waiting
from tasks.traders.core.tables import DOMAIN
from tasks.traders.publishing import EVENT, Publisher, PublishingError, check_channel, publish_events
from tests.redis_server import RedisServer, Subscriber
from tests.traders.ledger_rows import NOW, TIME, add_events, add_traders, unpublished_ids

# Connections to the Prefect server, which its own client leaves to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
PASSWORD = "s3cret-of-redis"
#: Publishes, and stands still between the channel's answer and the mark.
_STOP_BEFORE_MARK = """
import asyncio, sys, threading
from tasks.traders import publishing
publishing.BATCH = 7
mark = publishing._mark
left = int(sys.argv[1])
def stop(batch):
    global left
    if not left:
        print("published", flush=True)
        threading.Event().wait()
    left -= 1
    mark(batch)
publishing._mark = stop
asyncio.run(publishing.publish_events())
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(PASSWORD) as running:
        yield running


@pytest.fixture
def redis(server: RedisServer, traders_ledger: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """A server that is set as the one in use, beside a ledger with one trader."""
    use(server.url, monkeypatch)
    add_traders(TIME)
    yield server
    settings.cache_clear()


def use(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_TRADERS__REDIS_URL", url)
    settings.cache_clear()


async def test_what_waits_is_published_in_order_and_once(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "BATCH", 4)
    ids = add_events(1, 10)
    with Subscriber(redis, CHANNEL) as subscriber:
        assert await publish_events() == 10
        assert await publish_events() == 0
        more = add_events(1, 4)
        assert await publish_events() == 4
        await asyncio.to_thread(subscriber.wait_for, 14)
        assert subscriber.ids == [*ids, *more]
    assert unpublished_ids() == []
    assert await check_channel() == "Redis answers; channel trade_events"


async def test_one_publisher_goes_on_through_an_outage_and_tells_it_once(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(publishing, "_RECHECK_BASE", 0.0)
    caplog.set_level("INFO", "quintet")
    async with Publisher() as publisher:
        before = add_events(1, 2)
        assert await publisher.publish() == 2
        redis.stop()
        during = add_events(1, 3)
        for _ in range(3):
            assert await publisher.publish() == 0
        assert "away" in str(publisher.error)
        assert unpublished_ids() == during
        with pytest.raises(PublishingError, match="away"):
            await check_channel()
        redis.start()
        with Subscriber(redis, CHANNEL) as subscriber:
            after = add_events(1, 1)
            assert await publisher.publish() == 4
            assert str(publisher.error) == "None"
            await asyncio.to_thread(subscriber.wait_for, 4)
            assert subscriber.ids == [*during, *after]
        assert publisher.published == 6 and before not in (during, after)
    told = [record.getMessage() for record in caplog.records if "position changes" in record.getMessage()]
    assert [text.partition(" reason")[0] for text in told] == [
        "position changes cannot be published, they wait",
        "position changes are published again",
    ]
    assert PASSWORD not in caplog.text


async def test_an_outage_is_not_looked_at_again_at_once(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    async def refuse(_channel: object, messages: list[str]) -> int:
        tries.append(len(messages))
        raise RedisChannelError("away")

    monkeypatch.setattr(RedisChannel, "publish", refuse)
    monkeypatch.setattr(publishing, "_RECHECK_BASE", 3600.0)
    add_events(1, 2)
    async with Publisher() as publisher:
        assert [await publisher.publish() for _ in range(5)] == [0] * 5
    assert tries == [2]


async def test_a_wrong_password_is_told_without_it(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    use(f"redis://:{PASSWORD}-not@127.0.0.1:{redis.port}/0", monkeypatch)
    ids = add_events(1, 2)
    with pytest.raises(PublishingError, match="refuses the password") as error:
        await publish_events()
    assert PASSWORD not in repr(error.value) + str(error.value.__cause__)
    assert unpublished_ids() == ids


async def test_an_address_that_cannot_be_read_is_told_without_it(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(f"redis://:{PASSWORD}/@127.0.0.1", monkeypatch)
    ids = add_events(1, 2)
    with pytest.raises(PublishingError, match="cannot be read") as error:
        await publish_events()
    assert PASSWORD not in str(error.value) + str(error.value.__cause__)
    assert unpublished_ids() == ids


@pytest.mark.parametrize("marked", [0, 2])
async def test_killed_between_publishing_and_marking_nothing_is_lost_and_ids_tell_repetitions(
    redis: RedisServer, marked: int
) -> None:
    ids = add_events(1, 20)
    with Subscriber(redis, CHANNEL) as subscriber:
        with subprocess.Popen(
            [sys.executable, "-c", _STOP_BEFORE_MARK, str(marked)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert await asyncio.to_thread(child.stdout.readline) == "published\n"
            child.kill()
        assert unpublished_ids() == ids[7 * marked :]
        assert await publish_events() == 20 - 7 * marked
        await asyncio.to_thread(subscriber.wait_for, 20)
        assert len(subscriber.ids) > 20
        # In order by first sight, and nothing but what there was.
        assert list(dict.fromkeys(subscriber.ids)) == ids
    assert unpublished_ids() == []


async def test_two_publishers_at_once_lose_and_swap_nothing(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "BATCH", 5)
    ids = add_events(1, 40)
    with Subscriber(redis, CHANNEL) as subscriber:
        await asyncio.gather(publish_events(), publish_events(), publish_events())
        await asyncio.to_thread(subscriber.wait_for, 40)
        assert list(dict.fromkeys(subscriber.ids)) == ids
    assert unpublished_ids() == []


async def test_without_redis_they_are_prefect_events_of_the_same_id_stored_once(
    traders_ledger: str, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "PREFECT_BATCH", 2)
    add_traders(TIME)
    ids = add_events(1, 5)
    # Sent, and killed before the mark.
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "_mark", lambda _batch: None)
        patch.setattr(publishing, "BATCH", 99)
        await publish_events()
    assert unpublished_ids() == ids
    assert await publish_events() == 5
    assert unpublished_ids() == []
    assert "no Redis is set" in await check_channel()
    wanted = {
        "filter": {
            "event": {"name": [EVENT]},
            "id": {"id": ids},
            "occurred": {
                "since": (NOW - timedelta(days=1)).isoformat(),
                "until": (NOW + timedelta(days=1)).isoformat(),
            },
        },
        "limit": 50,
    }
    async with get_client() as client:
        stored: list[dict[str, object]] = []
        async with asyncio.timeout(60):
            while len(stored) < 5:
                stored = (await client.request("POST", "/events/filter", json=wanted)).json()["events"]
                await asyncio.sleep(0.1)
    assert sorted(str(event["id"]) for event in stored) == sorted(ids)
    first = next(event for event in stored if event["id"] == ids[0])
    assert first["payload"]["id"] == ids[0]  # type: ignore[index]
    assert first["payload"]["event_type"] == "OPEN_POSITION"  # type: ignore[index]


async def test_without_redis_and_prefect_they_wait(traders_ledger: str) -> None:
    add_traders(TIME)
    ids = add_events(1, 2)
    with pytest.raises(PublishingError, match="no Prefect server"):
        await publish_events()
    assert unpublished_ids() == ids
    with session(DOMAIN) as opened:
        assert waiting(opened) == Waiting(2, NOW)


async def test_nothing_to_publish_needs_no_channel(traders_ledger: str) -> None:
    assert await publish_events() == 0
