"""The listener, the pool and the connector in the test's own loop, on a free port, in front of a fake server.

    async with proxy_to(Mysqld(), pool_max=1) as proxy:
        client = await proxy.log_in()
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from tests.fakes.client import Client
from tests.fakes.clock import ManualClock
from tests.fakes.mysqld import Mysqld
from tests.wire_packets import PLAIN, Flag, Refused
from warmwire.config import Config
from warmwire.connector import Connector
from warmwire.pool.pool import Pool
from warmwire.relay.listener import Listener


class Proxy:
    """What app.Proxy is, without signals and with its parts in reach. A task that fails fails the test."""

    def __init__(self, database_port: int, **settings: Any) -> None:
        chosen = {
            "db_host": "127.0.0.1", "db_port": database_port, "db_user": "app", "db_password": "secret",
            "db_name": "app", "db_tls": "disabled", "socket": "", "checkout_timeout": 2.0, **settings,
        }  # fmt: skip
        self.config = Config(**chosen)
        self.clock = ManualClock()
        self.tasks: set[asyncio.Task[None]] = set()
        self._opened: list[Client] = []
        self.failures: list[BaseException] = []
        self.connector = Connector(self.config, self.clock)
        self.pool = Pool(self.config, self.connector, self.clock, self.spawn)
        listening = socket.create_server(("127.0.0.1", 0), backlog=600)
        listening.setblocking(False)
        self.port: int = listening.getsockname()[1]
        self.listener = Listener([listening], self.pool, self.config, self.clock, self.spawn)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failures.append(task.exception())  # type: ignore[arg-type]

    async def connect(self, *, greeted: bool = True) -> Client:
        """A client that has connected and, if ``greeted``, was greeted. It is closed at the end."""
        self._opened.append(await Client.connect(self.port, greeted=greeted))
        return self._opened[-1]

    async def log_in(self, user: str = "app", database: str = "app", flags: Flag = PLAIN) -> Client:
        """A client that has logged in; raises Refused."""
        client = await self.connect()
        client.send(client.login_packet(user, database, flags), 1)
        _, answer = await client.read_packet()
        if answer[:1] == b"\xff":
            raise Refused(answer)
        return client

    @property
    def clients(self) -> list[Any]:
        """The connected clients, as the listener knows them."""
        return list(self.listener._clients)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["Proxy"]:
        """Serve; at the end everything is closed, and the books of the pool balance."""
        self.listener.start()
        try:
            yield self
            self.pool.state.check_invariants()
        finally:
            for client in self._opened:
                await client.close()
            self.listener.close()
            await self.pool.close(0.5)
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
        assert self.failures == []


@contextlib.asynccontextmanager
async def proxy_to(mysqld: Mysqld, **settings: Any) -> AsyncIterator[Proxy]:
    """Both serve until the end."""
    async with mysqld.serving(), Proxy(mysqld.port, **settings).serving() as proxy:
        yield proxy


async def until(condition: Any, seconds: float = 5.0) -> None:
    """Wait until ``condition()`` is true; a test that waits in vain fails."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
