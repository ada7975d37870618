"""Many clients, and who waits for whom."""

import asyncio

import pytest

from tests.fakes.mysqld import OK, Mysqld, Session
from tests.fakes.proxy import proxy_to, until
from tests.splits import packet
from tests.wire_packets import Command, Refused, parse_error


async def test_500_half_open_connections_do_not_stop_a_good_client():
    async with proxy_to(Mysqld()) as proxy:
        for _ in range(500):
            await proxy.connect(greeted=False)
        client = await proxy.log_in()
        assert await client.query("DO 0") == OK


async def test_when_there_is_no_room_the_client_that_logs_in_for_the_longest_gives_way():
    async with proxy_to(Mysqld()) as proxy:
        proxy.listener._limit = 3
        first, second, third = [await proxy.connect() for _ in range(3)]
        good = await proxy.log_in()
        assert await first.at_end()
        assert await good.query("DO 0") == OK
        assert len(proxy.clients) == 3
        for client in (second, third):
            client.send(client.login_packet(), 1)
            assert await client.read_packet() == (2, OK)


async def test_when_all_are_logged_in_a_further_client_is_told_1040():
    async with proxy_to(Mysqld()) as proxy:
        proxy.listener._limit = 2
        clients = [await proxy.log_in() for _ in range(2)]
        with pytest.raises(Refused) as raised:
            await proxy.connect()
        assert (raised.value.errno, raised.value.sqlstate) == (1040, "")
        assert raised.value.text == "Warmwire: 2 clients are connected, which is all that are accepted; close some"
        assert await clients[0].query("DO 0") == OK
        clients[1].send(b"\x01")
        await clients[1].close()
        await until(lambda: len(proxy.clients) == 1)
        assert await (await proxy.log_in()).query("DO 0") == OK


async def test_a_client_that_finds_no_upstream_is_told_1040_at_its_command_and_goes_on():
    async with proxy_to(Mysqld(), pool_max=1, checkout_timeout=0.3) as proxy:
        first, second = await proxy.log_in(), await proxy.log_in()
        assert await first.query("DO 0") == OK
        proxy.clock.wall = proxy.clock.monotonic = 0

        async def pass_time():
            while True:
                await asyncio.sleep(0.01)
                proxy.clock.advance(0.01)

        passing = asyncio.create_task(pass_time())
        sequence, answer = await second.command(Command.QUERY, b"DO 0")
        errno, sqlstate, text = parse_error(answer)
        assert (sequence, errno, sqlstate) == (1, 1040, "08004")
        assert text.startswith("Warmwire: no upstream became free within 0.3 s: 1 of 1 upstreams open: 1 active")
        first.send(b"\x01")
        assert await second.query("DO 0") == OK
        passing.cancel()


async def test_the_next_client_gets_the_same_connection_in_a_clean_session():
    mysqld = Mysqld()
    async with proxy_to(mysqld) as proxy:
        for _ in range(5):
            client = await proxy.log_in()
            assert await client.query("SET @a = 1") == OK
            client.send(b"\x01")
            assert await client.at_end()
        await until(lambda: "1 idle" in proxy.pool.state.describe())
        (session,) = mysqld.sessions
        assert session.commands.count(bytes((Command.RESET_CONNECTION,))) == 5
        assert not session.has_quit


async def test_closing_ends_clients_in_order_and_every_upstream_with_com_quit():
    mysqld = Mysqld()
    async with proxy_to(mysqld, pool_max=3) as proxy:
        clients = [await proxy.log_in() for _ in range(3)]
        for client in clients:
            await client.query("DO 0")
        proxy.listener.close()
        await proxy.pool.close(2.0)
        assert [await client.at_end() for client in clients] == [True] * 3
        for session in mysqld.sessions:
            await session.ended.wait()
            assert session.has_quit
        with pytest.raises(OSError):
            await proxy.connect()
        proxy.listener._sockets.clear()


async def test_an_invocations_end_waits_for_no_client_that_has_nothing_open():
    async def never(session: Session, _: bytes) -> None:
        return None

    mysqld = Mysqld()
    mysqld.handlers[b"\x03SELECT SLEEP"] = never
    async with proxy_to(mysqld, pool_max=3) as proxy:
        await proxy.connect()
        await proxy.log_in()
        busy = await proxy.log_in()
        busy.send(b"\x03SELECT SLEEP(100)")
        await until(lambda: any(command.startswith(b"\x03SELECT SLEEP") for s in mysqld.sessions for command in s.commands))
        async with asyncio.timeout(5):
            await proxy.listener.end_invocation("request-1")
        assert len(proxy.clients) == 3


async def test_a_failure_while_ending_an_invocation_is_logged_and_the_others_are_ended_all_the_same(caplog):
    mysqld = Mysqld()
    mysqld.query("BEGIN", b"\x00\x00\x00\x03\x00\x00\x00")
    async with proxy_to(mysqld, pool_max=2) as proxy:
        clients = [await proxy.log_in() for _ in range(2)]
        for client in clients:
            await client.query("BEGIN")

        async def fail(request_id):
            raise RuntimeError("a bug")

        proxy.clients[0].end_invocation = fail
        await proxy.listener.end_invocation("request-1")
        assert "ending invocation request-1 failed for a client; this is a bug" in caplog.text
        assert [b"\x03ROLLBACK" in session.commands for session in mysqld.sessions] == [False, True]


async def test_connections_that_come_and_go_at_once_leave_nothing_behind():
    mysqld = Mysqld()
    async with proxy_to(mysqld) as proxy:
        for number in range(50):
            client = await proxy.connect(greeted=False)
            if number % 2:
                client.writer.write(packet(b"\x01", number))
            client.abort()
        await until(lambda: not proxy.clients and not [task for task in proxy.tasks if "run" in repr(task)])
