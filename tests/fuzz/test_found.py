"""What attacks and fuzzing have found, each once more and by the shortest way."""

import asyncio
import gc

import pytest

from tests.fakes.mysqld import COLUMN, EOF, OK, ROWS, Mysqld, Session, error
from tests.fakes.proxy import proxy_to, until
from tests.splits import every_split, packet, packets
from tests.wire_packets import PLAIN, Command, Flag, Refused
from warmwire.channel import PacketChannel
from warmwire.protocol.exchange import Exchange
from warmwire.relay import listener

CHANGE_USER = b"app\0\0app\0\x2d\x00mysql_native_password\0"
MORE = b"\x00\x00\x00\x0a\x00\x00\x00"


@pytest.mark.parametrize(
    ("command", "argument"),
    [
        (Command.STMT_CLOSE, b""),
        (Command.STMT_CLOSE, b"\1\0\0"),
        (Command.STMT_SEND_LONG_DATA, b"\1\0\0\0"),
        (Command.STMT_SEND_LONG_DATA, b"\1\0\0\0\0"),
    ],
)
async def test_a_command_without_an_answer_that_is_cut_short_does_not_reach_the_server(command, argument):
    """MySQL answers it, with an error that would be taken for the answer to the next command."""
    mysqld = Mysqld()
    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in()
        client.send(bytes((command,)) + argument)
        client.send(b"\x03SELECT 1")
        sequence, answer = await client.read_packet()
        assert (sequence, answer[:9]) == (1, b"\xff\x17\x04#08S01")
        assert await client.at_end()
        assert all(bytes((command,)) != said[:1] for session in mysqld.sessions for said in session.commands)


@pytest.mark.parametrize(
    ("command", "argument"), [(Command.STMT_CLOSE, b"\1\0\0\0"), (Command.STMT_SEND_LONG_DATA, b"\1\0\0\0\0\0")]
)
async def test_the_shortest_ones_that_are_whole_are_relayed(command, argument):
    mysqld = Mysqld()

    async def stay_silent(*_: object) -> None: ...

    mysqld.handlers[bytes((command,))] = stay_silent
    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in()
        client.send(bytes((command,)) + argument)
        assert await client.query("DO 0") == OK
        assert bytes((command,)) + argument in mysqld.sessions[0].commands


@pytest.mark.parametrize(
    "answer",
    [
        packet(OK, 1) + packet(OK, 1),  # one more than was asked for
        packet(MORE, 1),  # of a statement with several results
        packet(OK, 2),  # not the first packet of a response
        ROWS,
        packet(EOF, 1),
        packet(b"\xfe\0\0\2\0\0\0", 1),
        packet(b"", 1),
        packet(b"\x01", 1),
        packet(error(1317, "Query execution was interrupted"), 1),
    ],
    ids=["twice", "more results", "second packet", "rows", "EOF", "OK as EOF", "nothing", "a count", "an error"],
)
@pytest.mark.parametrize("step", [b"\x1f", b"\x03SET", b"\x02"], ids=["reset", "settings", "database"])
async def test_only_the_right_answers_pass_for_a_reset(step, answer):
    mysqld = Mysqld()

    async def say(session: Session, _: bytes) -> None:
        session.send(answer)

    async with proxy_to(mysqld, pool_max=1) as proxy:
        client = await proxy.log_in()
        assert await client.query("DO 0") == OK
        mysqld.handlers[step] = say
        await client.close()
        await until(lambda: not proxy.pool.state.slots or "idle" in proxy.pool.state.describe())
        del mysqld.handlers[step]
        is_refusal = step == b"\x02" and answer[4:5] == b"\xff"  # clean all the same, but at no baseline
        assert bool(proxy.pool.state.slots) == is_refusal
        other = await proxy.log_in()
        assert await other.query("DO 0") == OK
        assert len(mysqld.sessions) == (1 if is_refusal else 2)


async def test_what_comes_between_a_clients_leaving_and_the_reset_is_not_overlooked():
    mysqld = Mysqld()
    async with proxy_to(mysqld, pool_max=1) as proxy:
        client = await proxy.log_in()
        assert await client.query("DO 0") == OK
        (connection,) = proxy.clients
        mysqld.sessions[0].send(packet(OK, 1))
        await asyncio.sleep(0)  # sent, and not read yet
        connection.shut_down()
        await until(lambda: not proxy.pool.state.slots)
        await client.close()


async def test_clients_that_change_their_user_again_and_again_pile_nothing_up():
    mysqld = Mysqld()
    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in()

        async def change_user() -> None:
            _, switch = await client.command(Command.CHANGE_USER, CHANGE_USER)
            assert switch[:1] == b"\xfe"
            client.send(b"\x01" * 20, 3)
            assert (await client.read_packet())[1] == OK

        def channels() -> int:
            gc.collect()
            return sum(isinstance(one, PacketChannel) for one in gc.get_objects())

        await change_user()
        before = channels()
        for _ in range(20):
            await change_user()
        assert channels() <= before + 1


async def test_an_empty_packet_is_a_command_like_another():
    mysqld = Mysqld()
    refusal = error(1047, "Unknown command", "08S01")
    async with proxy_to(mysqld) as proxy:
        client = await proxy.log_in()
        mysqld.handlers[b""] = mysqld.handlers.get(b"", _answer(refusal))
        client.send(b"")
        assert await client.read_packet() == (1, refusal)
        del mysqld.handlers[b""]
        assert await client.query("DO 0") == OK


def _answer(payload: bytes):
    async def answer(session: Session, _: bytes) -> None:
        session.send(packet(payload, 1))

    return answer


async def test_a_wrong_user_name_is_not_repeated_at_length(caplog):
    async with proxy_to(Mysqld()) as proxy:
        with caplog.at_level("INFO", "warmwire"), pytest.raises(Refused, match="Access denied") as refused:
            await proxy.log_in(user="x\n\x1b" * 30_000)
        assert len(refused.value.text) < 400
        assert "\n" not in refused.value.text and "\x1b" not in refused.value.text
        assert all(len(record.getMessage()) < 500 for record in caplog.records)


async def test_clients_that_linger_after_their_end_make_room_first(monkeypatch):
    monkeypatch.setattr(listener, "MAX_CLIENTS", 3)
    async with proxy_to(Mysqld()) as proxy:
        good = await proxy.log_in()
        for _ in range(10):
            stranger = await proxy.connect()
            stranger.send(stranger.login_packet("somebody else"), 1)
            assert (await stranger.read_packet())[1][:3] == b"\xff\x15\x04"
            assert len(proxy.clients) <= 3
        assert await good.query("DO 0") == OK


async def test_a_database_that_can_do_less_than_before_is_refused():
    mysqld = Mysqld()
    async with proxy_to(mysqld, pool_size=0) as proxy:
        first = await proxy.log_in(flags=PLAIN | Flag.FOUND_ROWS)
        late = await proxy.connect()
        await first.close()
        for session in mysqld.sessions:
            session.abort()
        await until(lambda: not proxy.pool.state.slots)
        mysqld.flags &= ~Flag.FOUND_ROWS
        late.send(late.login_packet(flags=PLAIN | Flag.FOUND_ROWS), 1)
        assert b"cannot do any more" in (await late.read_packet())[1]
        await proxy.log_in(flags=PLAIN | Flag.FOUND_ROWS)  # greeted anew, it gets what there is


def test_the_results_of_a_procedure_with_an_open_cursor_are_no_open_cursor():
    """MariaDB 10.11 and MySQL 9.7, COM_STMT_EXECUTE without CLIENT_DEPRECATE_EOF."""
    end = b"\xfe\x00\x00\x6a\x00"
    response = packets(b"\x01", COLUMN, end, b"\0\0\1\0\0\0", b"\0\0\2\0\0\0", end, b"\0\0\0\x22\0\0\0")
    for pieces in every_split(response):
        exchange = Exchange(deprecate_eof=False)
        exchange.begin(Command.STMT_EXECUTE)
        assert b"".join(map(exchange.feed, pieces)) == response
        assert exchange.done


def test_an_ok_follows_the_out_parameters_of_a_procedure():
    """MySQL 9.7 without CLIENT_DEPRECATE_EOF: the last EOF does not say so."""
    response = packets(
        b"\x01", COLUMN, b"\xfe\0\0\x0a\0", b"\0\0\1\0\0\0", b"\xfe\0\0\x0a\0",
        b"\x01", COLUMN, b"\xfe\0\0\x0a\x10", b"\0\0\5\0\0\0", b"\xfe\0\0\2\0", OK,
    )  # fmt: skip
    for pieces in every_split(response):
        exchange = Exchange(deprecate_eof=False)
        exchange.begin(Command.STMT_EXECUTE)
        assert b"".join(map(exchange.feed, pieces)) == response
        assert exchange.done


def test_what_was_said_of_one_result_does_not_hold_for_the_next():
    exchange = Exchange(deprecate_eof=False)
    exchange.begin(Command.STMT_EXECUTE)
    exchange.feed(packets(b"\x01", COLUMN, b"\xfe\0\0\x0a\x10", error(1317, "interrupted")))
    assert exchange.done
    exchange.begin(Command.PING)
    exchange.feed(packet(OK, 1))
    assert exchange.done
