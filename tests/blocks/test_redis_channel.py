"""A channel of a real Redis server: order, outages, refusals; and nothing tells the password."""

import asyncio
import traceback
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from blocks.redis_channel import RedisChannel, RedisRefusedError, RedisUnavailableError
from tests.redis_server import RedisServer, Subscriber
from tests.servers import free_port

PASSWORD = "s3cret-of-redis"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(PASSWORD) as running:
        yield running


def channel(url: str, seconds: float = 5.0) -> RedisChannel:
    return RedisChannel(SecretStr(url), "c", seconds=seconds)


async def test_messages_arrive_in_their_order(server: RedisServer) -> None:
    messages = [f'{{"id":"{number}"}}' for number in range(1500)]
    with Subscriber(server, "c") as subscriber:
        async with channel(server.url) as opened:
            await opened.ping()
            assert await opened.publish([]) == 0
            assert await opened.publish(messages) == 1
        await asyncio.to_thread(subscriber.wait_for, 1500)
        assert subscriber.ids == [str(number) for number in range(1500)]


async def test_a_wrong_password_and_none_are_refused_without_being_told(server: RedisServer) -> None:
    for wrong in (f"redis://:{PASSWORD}-not@127.0.0.1:{server.port}/0", f"redis://127.0.0.1:{server.port}/0"):
        async with channel(wrong) as opened:
            with pytest.raises(RedisRefusedError, match="QUINTET_TRADERS__REDIS_URL") as error:
                await opened.publish(["{}"])
        assert PASSWORD not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize(
    "url", [f"redis://u:{PASSWORD}/x@host/0", f"redis://:{PASSWORD}@host:port/0", "redis://h/?db=x"]
)
async def test_an_address_that_is_none_is_refused_without_being_told(url: str) -> None:
    with pytest.raises(RedisRefusedError, match="cannot be read") as error:
        await channel(url).__aenter__()
    assert PASSWORD not in "".join(traceback.format_exception(error.value))
    assert PASSWORD not in repr(channel(url))


async def test_a_server_that_is_away_is_told_and_comes_back_on_the_same_channel() -> None:
    server = RedisServer()
    async with channel(server.url) as opened:
        with pytest.raises(RedisUnavailableError, match="away"):
            await opened.publish(["{}"])
        with server:
            assert await opened.publish(["{}"]) == 0
            server.stop()
            with pytest.raises(ConnectionError):
                await opened.publish(["{}"])
            server.start()
            with Subscriber(server, "c"):
                assert await opened.publish(["{}"]) == 1


async def test_a_server_that_stands_still_is_given_up(server: RedisServer) -> None:
    async with channel(server.url, seconds=0.2) as opened:
        await opened.ping()
        with server.client() as other:
            other.execute_command("CLIENT", "PAUSE", "60000", "ALL")
            with pytest.raises(RedisUnavailableError, match=r"no answer in 0\.2 s"):
                await opened.publish(["{}"])
    server.stop()
    server.start()


async def test_a_user_who_may_not_publish_is_refused(server: RedisServer) -> None:
    with server.client() as other:
        other.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "+ping", "&*")
    async with channel(f"redis://reader:pw@127.0.0.1:{server.port}/0") as opened:
        await opened.ping()
        with pytest.raises(RedisRefusedError, match="does not permit"):
            await opened.publish(["{}"])


async def test_what_listens_there_may_be_no_redis_at_all() -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    port = free_port()
    async with await asyncio.start_server(hang_up, "127.0.0.1", port), channel(f"redis://127.0.0.1:{port}") as opened:
        with pytest.raises((RedisUnavailableError, RedisRefusedError)):
            await opened.ping()


async def test_a_channel_that_is_not_open_is_a_mistake() -> None:
    with pytest.raises(RuntimeError, match="not open"):
        await channel("redis://h").publish(["{}"])
