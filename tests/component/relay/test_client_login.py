"""Clients on their way in: what they have to prove, and what they may do to us before they have."""

import asyncio

import pytest

from tests.fakes.mysqld import OK, Mysqld, Session, error
from tests.fakes.proxy import Proxy, proxy_to, until
from tests.splits import packet
from tests.wire_packets import PLAIN, Command, Flag, Refused, parse_error, parse_greeting, scramble
from warmwire.relay import login as module

NATIVE, CACHING_SHA2 = b"mysql_native_password", b"caching_sha2_password"


def login_packet(user=b"app", proof=b"", plugin=NATIVE, flags=PLAIN, database=b""):
    """The payload of a login packet."""
    if database:
        flags |= Flag.CONNECT_WITH_DB
    return (
        int(flags).to_bytes(4, "little") + b"\x00\x00\x00\x01\x2d" + bytes(23) + user + b"\0" + bytes((len(proof),)) + proof
        + (database + b"\0" if database else b"") + (plugin + b"\0" if flags & Flag.PLUGIN_AUTH else b"")
    )  # fmt: skip


async def test_the_greeting_is_the_servers_own_with_a_nonce_of_ours():
    mysqld = Mysqld(b"5.5.5-10.11.19-MariaDB-log")
    async with proxy_to(mysqld) as proxy:
        client, other = await proxy.connect(), await proxy.connect()
        greeting = parse_greeting(client.greeting)
        assert (greeting.version, greeting.collation, greeting.status) == (b"5.5.5-10.11.19-MariaDB-log", 8, 2)
        assert greeting.connection_id == 1
        assert greeting.plugin == CACHING_SHA2
        assert greeting.nonce != parse_greeting(other.greeting).nonce
        assert not greeting.flags & (Flag.SSL | Flag.COMPRESS | Flag.QUERY_ATTRIBUTES)
        assert greeting.flags & Flag.LONG_PASSWORD


async def test_clients_get_the_connections_that_they_were_greeted_with():
    mysqld = Mysqld()

    async def say_id(session: Session, _: bytes) -> None:
        session.send(packet(b"\x00" + bytes((session.number,)) + OK[2:], 1))

    mysqld.handlers[b"\x03WHO"] = say_id
    async with proxy_to(mysqld, pool_size=3, pool_max=3) as proxy:
        clients = [await proxy.log_in() for _ in range(3)]
        for client in clients:
            await client.query("DO 0")
        for client in clients:
            client.send(b"\x01")
            await client.close()
        await until(lambda: proxy.pool.state.describe().endswith(" idle"))
        clients = [await proxy.log_in() for _ in range(3)]
        greeted = [parse_greeting(client.greeting).connection_id for client in clients]
        assert sorted(greeted) == [1, 2, 3]
        found = [(await client.query("WHO"))[1] for client in reversed(clients)]
        assert found[::-1] == greeted


class TestWithoutALocalPassword:
    @pytest.mark.parametrize("proof", [b"", b"x" * 20])
    async def test_any_password_will_do(self, proof):
        async with proxy_to(Mysqld()) as proxy:
            client = await proxy.connect()
            client.send(login_packet(proof=proof), 1)
            assert await client.read_packet() == (2, OK)
            assert await client.query("DO 0") == OK

    @pytest.mark.parametrize("user", [b"", b"root", b"APP", b"app ", b"a" * 1000, b"\xff\xfe"])
    async def test_any_other_user_will_not(self, user):
        async with proxy_to(Mysqld()) as proxy:
            client = await proxy.connect()
            client.send(login_packet(user=user, proof=b"x" * 20), 1)
            sequence, answer = await client.read_packet()
            errno, sqlstate, text = parse_error(answer)
            assert (sequence, errno, sqlstate) == (2, 1045, "28000")
            shown = user.decode("utf-8", "replace")[:32]
            assert text.startswith(f"Access denied for user '{shown}") and "@'localhost' (using password: YES)" in text
            assert len(text) < 400
            assert "the user of WARMWIRE_DB_URL or WARMWIRE_DB_USER" in text
            assert await client.at_end()
            await client.close()
            await until(lambda: not proxy.clients)

    @pytest.mark.parametrize("plugin", [b"mysql_clear_password", b"dialog", b""])
    async def test_a_client_with_another_plugin_is_asked_to_switch(self, plugin):
        async with proxy_to(Mysqld()) as proxy:
            client = await proxy.connect()
            client.send(login_packet(proof=b"secret\0", plugin=plugin), 1)
            sequence, answer = await client.read_packet()
            name = CACHING_SHA2 if plugin else NATIVE
            assert sequence == 2 and answer.startswith(b"\xfe" + name + b"\0") and len(answer) == len(name) + 23
            client.send(b"x" * (32 if plugin else 20), 3)
            if plugin:
                assert await client.read_packet() == (4, b"\x01\x03")
                assert await client.read_packet() == (5, OK)
            else:
                assert await client.read_packet() == (4, OK)


class TestWithALocalPassword:
    @pytest.mark.parametrize("plugin", [NATIVE, CACHING_SHA2])
    @pytest.mark.parametrize("password", [b"local", b"wrong", b""])
    async def test_it_has_to_be_given(self, plugin, password):
        async with proxy_to(Mysqld(), local_password="local") as proxy:
            client = await proxy.connect()
            client.send(login_packet(proof=scramble(plugin, password, client.nonce), plugin=plugin), 1)
            sequence, answer = await client.read_packet()
            if password != b"local":
                assert answer[:1] == b"\xfe"
                nonce = answer[-21:-1]
                assert nonce != client.nonce
                client.send(scramble(plugin, password, nonce), sequence + 1)
                sequence, answer = await client.read_packet()
                assert (sequence, parse_error(answer)[0]) == (4, 1045)
                assert ("(using password: YES)" if password else "(using password: NO)") in parse_error(answer)[2]
                assert "and the password of WARMWIRE_LOCAL_PASSWORD" in parse_error(answer)[2]
                assert await client.at_end()
            else:
                if plugin == CACHING_SHA2:
                    assert answer == b"\x01\x03"
                    sequence, answer = await client.read_packet()
                assert answer == OK

    async def test_the_right_password_does_not_help_the_wrong_user(self):
        async with proxy_to(Mysqld(), local_password="local") as proxy:
            client = await proxy.connect()
            client.send(login_packet(user=b"root", proof=scramble(NATIVE, b"local", client.nonce)), 1)
            assert parse_error((await client.read_packet())[1])[0] == 1045

    async def test_the_database_password_is_not_the_local_one(self):
        async with proxy_to(Mysqld(), local_password="local", db_password="secret") as proxy:
            client = await proxy.connect()
            client.send(login_packet(proof=scramble(NATIVE, b"secret", client.nonce)), 1)
            assert (await client.read_packet())[1][:1] == b"\xfe"


class TestNobodyGetsInWithoutALogin:
    @pytest.mark.parametrize(
        ("data", "errno"),
        [
            (packet(b"", 1), 1047),
            (packet(b"\x03DROP TABLE t"), 1047),
            (packet(bytes(31), 1), 1047),
            (packet(bytes(4) + bytes(40), 1), 1047),
            (packet(int(PLAIN).to_bytes(4, "little") + bytes(28) + b"a" * 5000, 1), 1047),
            (b"\xff\xff\xff\x01" + bytes(100), 1153),
            (b"\x01\x00\x03\x01", 1153),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1153),
        ],
    )
    async def test_what_is_no_login_packet_is_refused_and_the_connection_closed(self, data, errno):
        mysqld = Mysqld()
        async with proxy_to(mysqld) as proxy:
            client = await proxy.connect()
            client.writer.write(data)
            assert parse_error((await client.read_packet())[1])[0] == errno
            assert await client.at_end()
            await client.close()
            await until(lambda: not proxy.clients)
            assert not any(b"DROP" in command for session in mysqld.sessions for command in session.commands)

    async def test_a_request_for_tls_is_told_how_to_do_without(self):
        async with proxy_to(Mysqld()) as proxy:
            client = await proxy.connect()
            client.send(int(PLAIN | Flag.SSL).to_bytes(4, "little") + bytes(28), 1)
            errno, _, text = parse_error((await client.read_packet())[1])
            assert errno == 1047 and "TLS was asked for, but is not offered on the local connection" in text

    async def test_commands_behind_a_refused_login_are_never_carried_out(self):
        mysqld = Mysqld()
        async with proxy_to(mysqld, local_password="local") as proxy:
            client = await proxy.connect()
            commands = packet(b"\x03DROP TABLE t") * 3
            client.writer.write(packet(login_packet(flags=PLAIN & ~Flag.PLUGIN_AUTH, proof=b"x" * 20), 1) + commands)
            rest = await client.rest()
            assert parse_error(rest[4:])[0] == 1045
            assert not any(b"DROP" in command for session in mysqld.sessions for command in session.commands)

    async def test_a_client_that_does_not_finish_in_time_is_told_and_closed(self, monkeypatch):
        monkeypatch.setattr(module, "HANDSHAKE_TIMEOUT", 0.1)
        async with proxy_to(Mysqld()) as proxy:
            client = await proxy.connect()
            client.writer.write(b"\x40\x00\x00\x01half")
            sequence, answer = await client.read_packet()
            errno, sqlstate, text = parse_error(answer)
            assert (sequence, errno, sqlstate) == (1, 1159, "08S01")
            assert text == "Warmwire: the client did not log in within 0.1 s"
            assert await client.at_end()

    async def test_a_login_may_come_in_any_pieces(self):
        async with proxy_to(Mysqld()) as proxy:
            client = await proxy.connect()
            for byte in packet(login_packet(database=b"app"), 1):
                client.writer.write(bytes((byte,)))
                await client.writer.drain()
                await asyncio.sleep(0)
            assert await client.read_packet() == (2, OK)

    async def test_a_first_command_may_come_with_the_login(self):
        async with proxy_to(Mysqld()) as proxy:
            client = await proxy.connect()
            client.writer.write(packet(login_packet(), 1) + packet(b"\x03DO 0") + packet(b"\x0e"))
            assert [await client.read_packet() for _ in range(3)] == [(2, OK), (1, OK), (1, OK)]


class TestWhatTheLoginAsksFor:
    async def test_a_database_is_selected_and_reported_to_clients_that_track_it(self):
        mysqld = Mysqld()
        async with proxy_to(mysqld) as proxy:
            client = await proxy.connect()
            client.send(login_packet(database=b"shop", flags=PLAIN | Flag.SESSION_TRACK), 1)
            assert await client.read_packet() == (2, b"\x00\x00\x00\x02\x40\x00\x00\x00\x07\x01\x05\x04shop")
            assert mysqld.sessions[0].database == b"shop"

    async def test_no_database_is_none_whatever_the_settings_say(self):
        mysqld = Mysqld()
        async with proxy_to(mysqld, db_name="app") as proxy:
            await proxy.log_in(database="")
            assert mysqld.sessions[0].database is None

    async def test_an_unknown_database_is_the_servers_own_error(self):
        mysqld = Mysqld()
        mysqld.refuse_login = error(1049, "Unknown database 'shop'", "42000")
        async with proxy_to(mysqld) as proxy:
            client = await proxy.connect()
            client.send(login_packet(database=b"shop"), 1)
            assert await client.read_packet() == (2, error(1049, "Unknown database 'shop'", "42000"))
            assert await client.at_end()

    async def test_an_unknown_database_on_a_held_upstream_too_and_the_upstream_stays(self):
        mysqld = Mysqld()
        mysqld.on(b"\x02shop", error(1049, "Unknown database 'shop'", "42000"))
        async with proxy_to(mysqld) as proxy:
            await proxy.log_in()
            with pytest.raises(Refused, match="Unknown database 'shop'"):
                await proxy.log_in(database="shop")
            await proxy.log_in()
            assert len(mysqld.sessions) == 1

    async def test_clients_that_ask_for_other_flags_get_another_upstream(self):
        mysqld = Mysqld()
        async with proxy_to(mysqld) as proxy:
            for flags in (PLAIN, PLAIN | Flag.FOUND_ROWS, PLAIN, PLAIN | Flag.FOUND_ROWS):
                client = await proxy.log_in(flags=flags)
                assert await client.query("DO 0") == OK
                client.send(b"\x01")
                assert await client.at_end()
                await client.close()
                await until(lambda: proxy.pool.state.describe().endswith(" idle"))
            assert len(mysqld.sessions) == 2


class TestWithoutADatabase:
    async def test_the_reason_comes_in_place_of_the_greeting_without_a_sqlstate(self):
        async with Proxy(1, checkout_timeout=1.0).serving() as proxy:
            with pytest.raises(Refused) as raised:
                await proxy.connect()
            assert (raised.value.errno, raised.value.sqlstate) == (1105, "")
            assert raised.value.text.startswith("Warmwire: Connection refused while connecting to 127.0.0.1; the database is")
            await until(lambda: not proxy.clients)

    async def test_the_servers_refusal_of_our_account_is_passed_on(self):
        mysqld = Mysqld()
        mysqld.refuse_login = error(1045, "Access denied for user 'app'@'10.0.0.7' (using password: YES)", "28000")
        async with proxy_to(mysqld) as proxy:
            with pytest.raises(Refused, match=r"10\.0\.0\.7") as raised:
                await proxy.log_in()
            assert (raised.value.errno, raised.value.sqlstate) == (1045, "28000")

    async def test_an_exception_that_nobody_expected_still_closes_the_connection(self):
        async with proxy_to(Mysqld()) as proxy:

            async def fail(timeout: float) -> bool:
                raise RuntimeError("a bug")

            proxy.connector.greet = fail
            client = await proxy.connect(greeted=False)
            assert await client.at_end()
            await client.close()
            await until(lambda: not proxy.clients and proxy.failures)
            assert str(proxy.failures.pop()) == "a bug"


class TestChangeUser:
    CHANGE = b"app\0\0shop\0\x21\x00mysql_native_password\0"

    async def test_it_is_proved_to_us_and_carried_out_with_our_own_account(self):
        mysqld = Mysqld()
        async with proxy_to(mysqld, local_password="local") as proxy:
            client = await proxy.connect()
            client.send(login_packet(proof=scramble(NATIVE, b"local", client.nonce), database=b"app"), 1)
            await client.read_packet()
            sequence, answer = await client.command(Command.CHANGE_USER, self.CHANGE)
            assert sequence == 1 and answer.startswith(b"\xfe" + NATIVE)
            client.send(scramble(NATIVE, b"local", answer[-21:-1]), 2)
            assert await client.read_packet() == (3, OK)
            assert mysqld.sessions[0].database == b"shop"
            change = next(command for command in mysqld.sessions[0].commands if command[0] == Command.CHANGE_USER)
            assert scramble(NATIVE, b"secret", b"abcdefghijklmnopqrst") in change
            assert await client.query("DO 0") == OK

    @pytest.mark.parametrize(("user", "password"), [(b"app", b"wrong"), (b"root", b"local")])
    async def test_the_wrong_password_or_user_ends_the_connection(self, user, password):
        mysqld = Mysqld()
        async with proxy_to(mysqld, local_password="local") as proxy:
            client = await proxy.connect()
            client.send(login_packet(proof=scramble(NATIVE, b"local", client.nonce)), 1)
            await client.read_packet()
            _, answer = await client.command(Command.CHANGE_USER, self.CHANGE.replace(b"app", user, 1))
            client.writer.write(packet(scramble(NATIVE, password, answer[-21:-1]), 2) + packet(b"\x03DROP TABLE t"))
            sequence, answer = await client.read_packet()
            assert (sequence, parse_error(answer)[0]) == (3, 1045)
            assert await client.at_end()
            assert not any(b"DROP" in command for session in mysqld.sessions for command in session.commands)

    @pytest.mark.parametrize(("version", "goes_on"), [(b"8.0.99", False), (b"5.5.5-10.11.19-MariaDB", True)])
    async def test_a_refusal_by_the_server_ends_it_where_the_server_would(self, version, goes_on):
        mysqld = Mysqld(version)
        refusal = error(1049, "Unknown database 'shop'", "42000")
        async with proxy_to(mysqld) as proxy:
            client = await proxy.log_in()

            async def refuse_the_shop(session: Session, payload: bytes) -> None:
                session.send(packet(refusal, 1) if b"shop" in payload else mysqld._own(session, payload))

            mysqld.handlers[bytes((Command.CHANGE_USER,))] = refuse_the_shop
            await client.command(Command.CHANGE_USER, self.CHANGE)
            client.send(b"x" * 20, 2)
            assert await client.read_packet() == (3, refusal)
            if goes_on:
                assert await client.query("DO 0") == OK
            else:
                assert await client.at_end()

    async def test_one_that_is_malformed_ends_the_connection(self):
        async with proxy_to(Mysqld()) as proxy:
            client = await proxy.log_in()
            sequence, answer = await client.command(Command.CHANGE_USER, b"app")
            assert (sequence, parse_error(answer)[0]) == (1, 1047)
            assert await client.at_end()

    async def test_one_that_is_too_long_is_refused_with_the_next_sequence_id(self):
        mysqld = Mysqld()
        async with proxy_to(mysqld) as proxy:
            client = await proxy.log_in()
            client.writer.write(b"\x00\x00\x10\x06" + bytes((Command.CHANGE_USER,)) + bytes(2000))
            sequence, answer = await client.read_packet()
            assert (sequence, parse_error(answer)[0]) == (7, 1153)

    async def test_a_client_that_stops_in_the_middle_is_told_and_gives_its_upstream_back(self, monkeypatch):
        monkeypatch.setattr(module, "HANDSHAKE_TIMEOUT", 0.1)
        async with proxy_to(Mysqld(), pool_max=1) as proxy:
            client = await proxy.log_in()
            await client.command(Command.CHANGE_USER, self.CHANGE)
            _, answer = await client.read_packet()
            assert parse_error(answer)[0] == 1159
            assert await (await proxy.log_in()).query("DO 0") == OK

    async def test_it_may_come_in_any_pieces(self):
        async with proxy_to(Mysqld()) as proxy:
            client = await proxy.log_in()
            for byte in packet(bytes((Command.CHANGE_USER,)) + self.CHANGE):
                client.writer.write(bytes((byte,)))
                await client.writer.drain()
                await asyncio.sleep(0)
            assert (await client.read_packet())[1][:1] == b"\xfe"
            client.send(b"x" * 20, 2)
            assert await client.read_packet() == (3, OK)

    async def test_what_comes_early_is_kept_for_afterwards(self):
        async with proxy_to(Mysqld()) as proxy:
            client = await proxy.log_in()
            change = packet(bytes((Command.CHANGE_USER,)) + self.CHANGE)
            client.writer.write(change + packet(b"x" * 20, 2) + packet(b"\x03DO 0"))
            assert (await client.read_packet())[1][:1] == b"\xfe"
            assert [await client.read_packet() for _ in range(2)] == [(3, OK), (1, OK)]


class TestResetConnection:
    async def test_it_is_carried_out_and_the_settings_that_warmwire_needs_made_again(self):
        mysqld = Mysqld()
        async with proxy_to(mysqld) as proxy:
            client = await proxy.log_in()
            assert await client.command(Command.RESET_CONNECTION) == (1, OK)
            commands = mysqld.sessions[0].commands
            at = commands.index(bytes((Command.RESET_CONNECTION,)))
            assert b"session_track_transaction_info" in commands[at + 1]
            assert await client.query("DO 0") == OK

    async def test_a_refusal_by_the_server_is_passed_on_and_ends_the_connection(self):
        mysqld = Mysqld()
        async with proxy_to(mysqld) as proxy:
            client = await proxy.log_in()
            mysqld.on(bytes((Command.RESET_CONNECTION,)), error(1047, "Unknown command", "08S01"))
            assert await client.command(Command.RESET_CONNECTION) == (1, error(1047, "Unknown command", "08S01"))
            assert await client.at_end()
            assert not proxy.pool.state.slots
