"""Whoever leaves, and whenever: nothing of it may stay behind, and no upstream be lost to it."""

import asyncio

from tests.fakes.mysqld import OK, Mysqld, Session
from tests.fakes.proxy import proxy_to, until
from tests.splits import packet
from tests.wire_packets import Command


class Gate:
    """Holds a server's answer back until the test opens it."""

    def __init__(self, answer: bytes = OK) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self._answer = answer

    async def __call__(self, session: Session, payload: bytes) -> None:
        self.reached.set()
        await self.opened.wait()
        session.send(packet(self._answer, 1))


async def test_a_client_that_leaves_while_its_upstream_is_being_opened_is_forgotten():
    gate = Gate()
    mysqld = Mysqld()
    mysqld.handlers[b"\x03SET"] = gate
    async with proxy_to(mysqld) as proxy:
        client = await proxy.connect()
        client.send(client.login_packet(), 1)
        await gate.reached.wait()
        await client.close()
        await asyncio.sleep(0.05)
        gate.opened.set()
        await until(lambda: not proxy.clients)
        assert proxy.pool.state.describe() == "1 of 5 upstreams open: 1 idle"


async def test_a_client_that_leaves_during_its_change_of_user_gives_its_upstream_back():
    gate = Gate()
    mysqld = Mysqld()
    async with proxy_to(mysqld, pool_max=1) as proxy:
        client = await proxy.log_in()
        mysqld.handlers[bytes((Command.CHANGE_USER,))] = gate
        await client.command(Command.CHANGE_USER, b"app\0\0app\0\x2d\x00mysql_native_password\0")
        client.send(b"\x01" * 20, 3)
        await gate.reached.wait()
        await client.close()
        await asyncio.sleep(0.05)
        gate.opened.set()
        await until(lambda: not proxy.clients)
        other = await proxy.log_in()
        assert await other.query("DO 0") == OK


async def test_a_client_that_leaves_during_its_reset_leaves_no_task_behind():
    gate = Gate()
    mysqld = Mysqld()
    async with proxy_to(mysqld, pool_max=1) as proxy:
        client = await proxy.log_in()
        mysqld.handlers[bytes((Command.RESET_CONNECTION,))] = gate
        client.send(bytes((Command.RESET_CONNECTION,)))
        await gate.reached.wait()
        await client.close()
        await until(lambda: not proxy.clients)
        await until(lambda: not proxy.tasks)
        gate.opened.set()


async def test_a_client_dropped_during_its_login_does_not_come_back_to_life():
    gate = Gate()
    mysqld = Mysqld()
    mysqld.handlers[b"\x03SET"] = gate
    async with proxy_to(mysqld) as proxy:
        client = await proxy.connect()
        client.send(client.login_packet(), 1)
        await gate.reached.wait()
        (connection,) = proxy.clients
        connection.shut_down()
        gate.opened.set()
        await until(lambda: "idle" in proxy.pool.state.describe())
        await asyncio.sleep(0.05)
        assert connection.phase.name == "CLOSED"
        assert await client.at_end()
