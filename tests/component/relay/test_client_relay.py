"""One logged-in client and its upstream, which misbehaves in every way that networks and servers do."""

import asyncio

import pytest

from tests.fakes.client import Client
from tests.fakes.mysqld import EOF, IN_TRANSACTION, OK, ROWS, Mysqld, Session, error
from tests.fakes.proxy import Proxy, proxy_to, until
from tests.splits import packet, packets
from tests.wire_packets import PLAIN, Command, Flag, parse_error

QUERY = bytes((Command.QUERY,))


async def test_a_response_comes_back_byte_for_byte_and_in_any_pieces():
    async def in_pieces(session: Session, _: bytes) -> None:
        for at in range(len(ROWS)):
            session.send(ROWS[at : at + 1])
            await session.writer.drain()
            await asyncio.sleep(0)

    mysqld = Mysqld()
    mysqld.handlers[QUERY + b"SELECT 1"] = in_pieces
    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in()
        for byte in packet(QUERY + b"SELECT 1"):
            client.writer.write(bytes((byte,)))
            await client.writer.drain()
            await asyncio.sleep(0)
        assert await client.read(len(ROWS)) == ROWS


async def test_commands_sent_early_are_sent_on_one_at_a_time_and_answered_in_order():
    waiting: list[int] = []

    async def answer(session: Session, payload: bytes) -> None:
        await asyncio.sleep(0.02)
        waiting.append(len(session.reader._buffer))  # type: ignore[attr-defined]
        session.send(packets(b"\x01", ROWS[9:31], EOF, b"\x01" + payload[-1:], EOF))

    mysqld = Mysqld()
    mysqld.handlers[QUERY + b"SELECT at once"] = answer
    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in()
        client.writer.write(b"".join(packet(QUERY + b"SELECT at once %d" % number) for number in range(5)))
        for number in range(5):
            answers = [await client.read_packet() for _ in range(5)]
            assert answers[3] == (4, b"\x01%d" % number)
        assert waiting == [0] * 5


async def test_commands_without_an_answer_do_not_hold_up_those_behind_them():
    mysqld = Mysqld()
    for command in (Command.STMT_SEND_LONG_DATA, Command.STMT_CLOSE):

        async def silent(session: Session, payload: bytes) -> None:
            return None

        mysqld.handlers[bytes((command,))] = silent
    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in()
        for command in (Command.STMT_SEND_LONG_DATA, Command.STMT_CLOSE):
            client.send(bytes((command,)) + b"\x01\0\0\0\0\0data")
        client.send(QUERY + b"DO 0")
        assert await client.read_packet() == (1, OK)


async def test_an_error_before_the_command_has_ended_reaches_the_client_and_costs_the_upstream():
    async def impatient(session: Session) -> bytes | None:
        session.send(mysqld.greeting_packet)
        await session.read_packet()
        session.send(packet(OK, 2))
        while (payload := await session.read_packet())[:10] != QUERY + b"INSERT in":
            session.send(mysqld._own(session, payload))
        return None

    mysqld = Mysqld()
    too_large = error(1153, "Got a packet bigger than 'max_allowed_packet' bytes", "08S01")

    async def refuse(session: Session, _: bytes) -> None:
        session.send(packet(too_large, 1))

    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in()
        await client.query("DO 0")
        (session,) = mysqld.sessions
        client.writer.write(b"\x00\x00\x10\x00" + QUERY + bytes(1000))  # the rest of its 1 MiB will never come
        await until(lambda: len(session.reader._buffer) > 900)  # type: ignore[attr-defined]
        await refuse(session, b"")
        assert await client.read_packet() == (1, too_large)
        assert await client.at_end()
        await until(lambda: not proxy.pool.state.slots)


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_an_upstream_that_dies_before_its_answer_is_told_with_1152(how):
    async def die(session: Session, _: bytes) -> None:
        getattr(session, how)()

    mysqld = Mysqld()
    mysqld.handlers[QUERY + b"UPDATE"] = die
    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in()
        sequence, answer = await client.command(Command.QUERY, b"UPDATE t SET a = 1")
        errno, sqlstate, text = parse_error(answer)
        assert (sequence, errno, sqlstate) == (1, 1152, "08S01")
        assert text.startswith(f"Warmwire: the connection to the database 127.0.0.1:{mysqld.port} was lost while a statement")
        assert await client.at_end()
        assert not proxy.pool.state.slots


async def test_an_upstream_that_dies_within_its_answer_closes_the_client_without_a_word_more():
    async def die(session: Session, _: bytes) -> None:
        session.send(ROWS[:-3])
        await session.writer.drain()
        session.close()

    mysqld = Mysqld()
    mysqld.handlers[QUERY + b"SELECT 1"] = die
    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in()
        client.send(QUERY + b"SELECT 1")
        assert await client.rest() == ROWS[: -len(packet(EOF))]  # the last packet was not there to be judged
        assert not proxy.pool.state.slots


async def test_an_upstream_that_dies_between_commands_closes_the_client_as_it_would_directly():
    mysqld = Mysqld()
    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in()
        await client.query("DO 0")
        mysqld.sessions[0].close()
        assert await client.at_end()
        assert not proxy.pool.state.slots


async def test_what_the_server_says_unasked_reaches_the_client_and_the_upstream_is_never_used_again():
    timeout = packet(error(4031, "The client was disconnected by the server because of inactivity."), 0)
    mysqld = Mysqld()
    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in()
        await client.query("DO 0")
        mysqld.sessions[0].send(timeout)  # and the connection stays open
        assert await client.rest() == timeout
        await until(lambda: mysqld.sessions[0].ended.is_set())
        assert bytes((Command.RESET_CONNECTION,)) not in mysqld.sessions[0].commands
        assert not proxy.pool.state.slots


async def test_an_idle_upstream_that_says_something_is_discarded_before_the_next_client_comes():
    mysqld = Mysqld()
    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in()
        await until(lambda: "1 idle" in proxy.pool.state.describe())
        mysqld.sessions[0].send(packet(error(4031, "gone"), 0))
        await until(lambda: not proxy.pool.state.slots)
        assert await client.query("DO 0") == OK
        assert len(mysqld.sessions) == 2


async def test_bytes_behind_a_response_break_the_connection_rather_than_be_taken_for_the_next_response():
    mysqld = Mysqld()

    async def twice(session: Session, _: bytes) -> None:
        session.send(packet(OK, 1) * 2)

    mysqld.handlers[QUERY + b"DO 1"] = twice
    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in()
        client.send(QUERY + b"DO 1")
        rest = await client.rest()
        assert rest == b"" or parse_error(rest[4:])[0] == 1152
        assert not proxy.pool.state.slots


class TestBackPressure:
    ROW = packet(b"\xfc\xe8\x03" + bytes(1000), 9)
    MOST = 24 << 20
    """Bytes under way at once, at most: what the two kernels' socket buffers hold, and Warmwire's own."""

    async def test_a_client_that_does_not_read_stops_the_server(self):
        sent = 0

        async def pour(session: Session, _: bytes) -> None:
            nonlocal sent
            session.send(ROWS[: ROWS.index(b"\x011") - 4])
            for _ in range(1000):
                session.send(self.ROW * 64)
                await session.writer.drain()
                sent += 64
            session.send(packet(EOF, 9))

        mysqld = Mysqld()
        mysqld.handlers[QUERY + b"SELECT * FROM big"] = pour
        async with proxy_to(mysqld) as proxy:
            client = await proxy.log_in()
            client.send(QUERY + b"SELECT * FROM big")
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.1)
            assert 0 < sent * len(self.ROW) < self.MOST
            (connection,) = proxy.clients
            assert connection._wire.backlog < 512 * 1024
            total = len(ROWS[: ROWS.index(b"\x011") - 4]) + 64_000 * len(self.ROW) + len(packet(EOF))
            while total:
                total -= len(await client.read(min(total, 1 << 20)))
            assert await client.query("DO 0") == OK

    async def test_a_server_that_does_not_read_stops_the_client(self):
        gate = asyncio.Event()

        async def later(session: Session, _: bytes) -> None:
            await gate.wait()
            session.send(packet(OK, 1))

        mysqld = Mysqld()
        mysqld.handlers[QUERY + b"DO 0"] = later
        async with proxy_to(mysqld) as proxy:
            client = await proxy.log_in()
            client.send(QUERY + b"DO 0")
            sent, piece = 0, packet(bytes((Command.STMT_SEND_LONG_DATA,)) + bytes(60_000))

            async def silent(session: Session, payload: bytes) -> None:
                return None

            mysqld.handlers[bytes((Command.STMT_SEND_LONG_DATA,))] = silent

            async def pour() -> None:
                nonlocal sent
                for _ in range(1000):
                    client.writer.write(piece)
                    await client.writer.drain()
                    sent += 1

            pouring = asyncio.create_task(pour())
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.1)
            assert sent < 1000 and sent * len(piece) < self.MOST
            (connection,) = proxy.clients
            assert len(connection._inbox) < 512 * 1024
            gate.set()
            await pouring
            client.send(QUERY + b"DO 1")
            assert [await client.read_packet() for _ in range(2)] == [(1, OK), (1, OK)]
            assert sum(len(command) == 60_001 for command in mysqld.sessions[0].commands) == 1000


    async def test_commands_that_are_not_answered_stop_the_client_too(self):
        gate = asyncio.Event()

        async def later(session: Session, payload: bytes) -> None:
            await gate.wait()

        mysqld = Mysqld()
        mysqld.handlers[bytes((Command.STMT_SEND_LONG_DATA,))] = later
        async with proxy_to(mysqld) as proxy:
            client = await proxy.log_in()
            await client.query("DO 0")
            sent, piece = 0, packet(bytes((Command.STMT_SEND_LONG_DATA,)) + bytes(60_000))

            async def pour() -> None:
                nonlocal sent
                for _ in range(1000):
                    client.writer.write(piece)
                    await client.writer.drain()
                    sent += 1

            pouring = asyncio.create_task(pour())
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.1)
            assert sent < 1000 and sent * len(piece) < self.MOST
            assert proxy.clients[0]._upstream.wire.backlog < 512 * 1024
            gate.set()
            await pouring
            assert await client.query("DO 1") == OK
            assert sum(len(command) == 60_001 for command in mysqld.sessions[0].commands) == 1000


class TestUploads:
    async def upload(self, session: Session, _: bytes) -> None:
        session.send(packet(b"\xfbfile", 1))
        self.received = []
        while payload := await session.read_packet():
            self.received.append(payload)
        session.send(packet(OK, len(self.received) + 3))

    async def test_an_upload_passes_and_is_answered_after_its_empty_packet(self):
        mysqld = Mysqld()
        mysqld.handlers[QUERY + b"LOAD"] = self.upload
        async with proxy_to(mysqld) as proxy:
            client = await proxy.log_in()
            assert await client.command(Command.QUERY, b"LOAD") == (1, b"\xfbfile")
            client.writer.write(packet(b"one", 2) + packet(b"two", 3) + packet(b"", 4) + packet(QUERY + b"DO 0"))
            assert await client.read_packet() == (5, OK)
            assert await client.read_packet() == (1, OK)
            assert self.received == [b"one", b"two"]

    async def test_data_that_comes_before_the_server_asked_for_it_waits_for_that(self):
        mysqld = Mysqld()
        mysqld.handlers[QUERY + b"LOAD"] = self.upload
        async with proxy_to(mysqld) as proxy:
            client = await proxy.log_in()
            client.writer.write(packet(QUERY + b"LOAD") + packet(b"early", 2) + packet(b"", 3))
            assert await client.read_packet() == (1, b"\xfbfile")
            assert await client.read_packet() == (4, OK)
            assert self.received == [b"early"]


@pytest.mark.parametrize("command", [Command.BINLOG_DUMP, Command.TABLE_DUMP, Command.BINLOG_DUMP_GTID])
async def test_a_command_that_streams_the_binary_log_is_refused_and_the_connection_goes_on(command):
    mysqld = Mysqld()
    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in()
        sequence, answer = await client.command(command, bytes(20))
        assert (sequence, parse_error(answer)[:2]) == (1, (1047, "08S01"))
        assert await client.query("DO 0") == OK
        assert not any(payload[0] == command for payload in mysqld.sessions[0].commands)


@pytest.mark.parametrize("payload", [b"\x19", b"\x19\x01\x00\x00", b"\x18\x01\x00\x00\x00\x00"])
async def test_a_command_without_an_answer_that_is_cut_off_would_be_answered_and_is_therefore_refused(payload):
    mysqld = Mysqld()
    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in()
        await client.query("DO 0")
        client.send(payload, 6)
        sequence, answer = await client.read_packet()
        assert (sequence, parse_error(answer)[0]) == (7, 1047)
        assert await client.at_end()
        assert payload not in mysqld.sessions[0].commands


@pytest.mark.parametrize(("flags", "shown"), [(PLAIN | Flag.SESSION_TRACK, True), (PLAIN, False)])
async def test_a_client_that_sets_the_trackers_itself_is_shown_all_they_report_if_it_can_read_them(flags, shown):
    tracked, plain = b"\x00\x00\x00\x03\x40\x00\x00\x00\x0b\x05\x09\x08T_______", b"\x00\x00\x00\x03\x00\x00\x00"
    mysqld = Mysqld()
    mysqld.query("BEGIN", tracked)
    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in(flags=flags)
        assert await client.query("BEGIN") == plain
        await client.query("SET session_track_transaction_info = 'STATE'")
        assert await client.query("BEGIN") == (tracked if shown else plain)
        await client.command(Command.RESET_CONNECTION)
        assert await client.query("BEGIN") == plain


async def test_an_upstream_that_leaves_traces_which_no_reset_clears_is_not_given_to_anybody_else():
    mysqld = Mysqld()
    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in()
        await client.query("SET profiling = 1")
        client.send(b"\x01")
        assert await client.at_end()
        await until(lambda: mysqld.sessions[0].has_quit)
        assert await (await proxy.log_in()).query("DO 0") == OK
        assert len(mysqld.sessions) == 2


async def test_a_refusal_continues_the_sequence_of_the_command():
    mysqld = Mysqld()
    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in()
        payload = bytes((Command.BINLOG_DUMP,)) + bytes(0xFFFFFF)
        client.writer.write(b"\xff\xff\xff\x00" + payload[:0xFFFFFF] + packet(payload[0xFFFFFF:], 1))
        sequence, answer = await client.read_packet()
        assert (sequence, parse_error(answer)[0]) == (2, 1047)


class TestInvocationEnd:
    async def open_transaction(self, mysqld: Mysqld, proxy: Proxy, write: bool) -> Client:
        mysqld.query("BEGIN", IN_TRANSACTION)
        mysqld.query("UPDATE", IN_TRANSACTION)
        mysqld.query("INSERT", b"\x00\x01\x01\x03\x40\x00\x00\x00\x0b\x05\x09\x08T___W_S_")
        mysqld.query("ROLLBACK", OK)
        client = await proxy.log_in()
        assert await client.query("BEGIN") == IN_TRANSACTION
        if write:
            assert await client.query("INSERT INTO t VALUES (1)") == b"\x00\x01\x01\x03\x00\x00\x00"
        return client

    async def test_an_open_transaction_that_wrote_is_rolled_back_and_its_client_told(self):
        mysqld = Mysqld()
        async with proxy_to(mysqld) as proxy:
            client = await self.open_transaction(mysqld, proxy, write=True)
            await proxy.listener.end_invocation("request-7")
            assert QUERY + b"ROLLBACK" in mysqld.sessions[0].commands
            assert await client.command(Command.PING) == (1, OK)  # asks nothing of the transaction
            sequence, answer = await client.command(Command.QUERY, b"INSERT INTO t VALUES (2)")
            errno, sqlstate, text = parse_error(answer)
            assert (sequence, errno, sqlstate) == (1, 1213, "40001")
            assert "invocation request-7 ended without COMMIT" in text
            assert mysqld.sessions[0].commands[-1] == bytes((Command.PING,))
            assert await client.query("DO 0") == OK  # once is enough

    @pytest.mark.parametrize("pieces", [1, 2, 5, 30])
    async def test_a_rollback_by_the_client_itself_is_all_the_answer_that_is_needed(self, pieces):
        mysqld = Mysqld()
        async with proxy_to(mysqld) as proxy:
            client = await self.open_transaction(mysqld, proxy, write=True)
            await proxy.listener.end_invocation("request-7")
            command = packet(QUERY + b"/* tidy */ rollback")
            size = -(-len(command) // pieces)
            for at in range(0, len(command), size):
                client.writer.write(command[at : at + size])
                await client.writer.drain()
                await asyncio.sleep(0.001)
            assert await client.read_packet() == (1, OK)
            assert await client.query("DO 0") == OK

    async def test_a_transaction_that_only_read_is_ended_in_silence(self):
        mysqld = Mysqld()
        async with proxy_to(mysqld) as proxy:
            client = await self.open_transaction(mysqld, proxy, write=False)
            await proxy.listener.end_invocation("request-7")
            assert QUERY + b"ROLLBACK" in mysqld.sessions[0].commands
            assert await client.query("DO 0") == OK

    async def test_locked_tables_are_given_up_even_if_other_statements_came_since(self):
        mysqld = Mysqld()
        mysqld.query("LOCK TABLES", b"\x00\x00\x00\x02\x40\x00\x00\x00\x0b\x05\x09\x08_______L")
        async with proxy_to(mysqld) as proxy:
            client = await proxy.log_in()
            await client.query("LOCK TABLES t WRITE")
            await client.query("DO 0")
            await proxy.listener.end_invocation("request-7")
            assert QUERY + b"UNLOCK TABLES" in mysqld.sessions[0].commands
            assert parse_error(await client.query("INSERT INTO t VALUES (1)"))[0] == 1213

    async def test_after_an_error_the_server_is_asked(self):
        mysqld = Mysqld()
        mysqld.query("CALL", error(1146, "Table 'app.missing' doesn't exist", "42S02"))
        async with proxy_to(mysqld) as proxy:
            client = await proxy.log_in()
            await client.query("CALL begins_writes_and_fails()")
            await client.command(Command.STATISTICS)  # has no status flags to tell
            mysqld.on(bytes((Command.PING,)), IN_TRANSACTION)
            await proxy.listener.end_invocation("request-7")
            assert QUERY + b"ROLLBACK" in mysqld.sessions[0].commands
            assert parse_error(await client.query("INSERT INTO t VALUES (1)"))[0] == 1213

    async def test_without_a_transaction_nothing_is_asked_of_the_server(self):
        mysqld = Mysqld()
        async with proxy_to(mysqld) as proxy:
            client = await proxy.log_in()
            await client.query("DO 0")
            before = len(mysqld.sessions[0].commands)
            await proxy.listener.end_invocation("request-7")
            assert await client.query("DO 0") == OK
            assert len(mysqld.sessions[0].commands) == before + 1

    async def test_a_database_that_is_gone_then_costs_the_client_its_connection_only(self):
        async def die(session: Session, _: bytes) -> None:
            session.abort()

        mysqld = Mysqld()
        async with proxy_to(mysqld) as proxy:
            client = await self.open_transaction(mysqld, proxy, write=True)
            mysqld.handlers[QUERY + b"ROLLBACK"] = die
            await proxy.listener.end_invocation("request-7")
            assert parse_error((await client.read_packet())[1])[0] == 1152
            assert await client.at_end()
            assert not proxy.pool.state.slots
