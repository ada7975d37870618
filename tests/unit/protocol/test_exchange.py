import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.captures import mariadb, mysql
from tests.splits import any_split, every_split, packet, packets
from warmwire.errors import ProtocolError
from warmwire.protocol.constants import MAX_PAYLOAD, Command
from warmwire.protocol.exchange import Exchange, State
from warmwire.protocol.tracking import Visibility

CAPTURES = [(module.VERSION, response) for module in (mariadb, mysql) for response in module.RESPONSES]
FAILED = {
    "error", "error among rows", "init db, unknown", "several, the second fails", "call that fails", "prepare, error",
    "execute, unknown statement", "fetch, no cursor", "field list, error", "set option, error", "debug", "time",
    "load data local, error",
}  # fmt: skip
each_server = pytest.mark.parametrize("module", [mariadb, mysql], ids=lambda module: module.VERSION)


def play(exchange, response, chunks):
    """Feed a captured response and return what the client sees. The upload ends where it ended when it was recorded."""
    exchange.begin(response.command)
    shown, seen = [], 0
    for chunk in chunks:
        if response.upload_at is not None and seen < response.upload_at <= seen + len(chunk):
            cut = response.upload_at - seen
            shown.append(exchange.feed(chunk[:cut]))
            assert exchange.uploading
            exchange.upload_ended()
            seen, chunk = seen + cut, chunk[cut:]
        shown.append(exchange.feed(chunk))
        seen += len(chunk)
    return b"".join(shown)


class TestRealResponses:
    @each_server
    def test_a_client_without_session_tracking_gets_what_the_server_tells_such_a_client(self, module):
        for response in module.RESPONSES:
            for chunks in every_split(response.ours):
                exchange = Exchange(response.deprecate_eof)
                assert play(exchange, response, chunks) == response.shown_plainly, response.name
                assert exchange.done, response.name
                assert (exchange.error is not None) == (response.name in FAILED), response.name

    @each_server
    def test_a_client_with_session_tracking_gets_what_the_server_reports_by_default(self, module):
        for response in module.RESPONSES:
            exchange = Exchange(response.deprecate_eof, Visibility.DEFAULTS)
            shown = play(exchange, response, [response.ours])
            if module is mysql and response.name in ("begin", "commit"):
                # MySQL reports the ends of explicit transactions even while it is told not to; they are held back.
                assert shown == response.shown_plainly, response.name
            else:
                assert shown == response.shown_by_default, response.name

    def test_a_client_that_set_the_trackers_itself_gets_every_byte(self):
        for version, response in CAPTURES:
            exchange = Exchange(response.deprecate_eof, Visibility.EVERYTHING)
            assert play(exchange, response, [response.ours]) == response.ours, (version, response.name)

    def test_no_response_ends_before_its_last_byte(self):
        for version, response in CAPTURES:
            for cut in range(len(response.ours)):
                exchange = Exchange(response.deprecate_eof)
                play(exchange, response, [response.ours[:cut]] if cut else [])
                assert not exchange.done, (version, response.name, cut)

    def test_a_byte_behind_the_end_breaks_the_exchange_for_good(self):
        for _, response in CAPTURES:
            exchange = Exchange(response.deprecate_eof)
            play(exchange, response, [response.ours] if response.ours else [])
            with pytest.raises(ProtocolError, match="1 bytes from the upstream while between exchanges"):
                exchange.feed(b"\x00")
            assert exchange.state is State.BROKEN
            with pytest.raises(ProtocolError, match="broken"):
                exchange.begin(Command.PING)

    @each_server
    @pytest.mark.parametrize("deprecate_eof", [True, False])
    @settings(max_examples=15, deadline=None)
    @given(data=st.data())
    def test_a_whole_conversation_over_one_connection_in_any_pieces(self, module, deprecate_eof, data):
        exchange = Exchange(deprecate_eof)
        for response in module.RESPONSES:
            if response.deprecate_eof is deprecate_eof:
                chunks = data.draw(any_split(response.ours)) if response.ours else []
                assert play(exchange, response, chunks) == response.shown_plainly
                assert exchange.done


OK, OK_MORE = b"\x00\x00\x00\x02\x00\x00\x00", b"\x00\x00\x00\x0a\x00\x00\x00"
ERR = b"\xff\x28\x04#42000no"
EOF, EOF_MORE = b"\xfe\x00\x00\x02\x00", b"\xfe\x00\x00\x0a\x00"
END, END_MORE = b"\xfe\x00\x00\x02\x00\x00\x00", b"\xfe\x00\x00\x0a\x00\x00\x00"  # an OK that ends rows
LONG_END = b"\xfe\x00\x00\x02\x40\x00\x00\x00\x05\x01\x03\x02ab"
PREPARED = b"\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
COUNT, LOCAL, ROW, EMPTY = b"\x01", b"\xfbf", b"\x03abc", b""
PACKETS = {
    "OK": OK, "OK_MORE": OK_MORE, "ERR": ERR, "EOF": EOF, "EOF_MORE": EOF_MORE, "END": END, "END_MORE": END_MORE,
    "LONG_END": LONG_END, "PREPARED": PREPARED, "COUNT": COUNT, "LOCAL": LOCAL, "ROW": ROW, "EMPTY": EMPTY,
}  # fmt: skip

# How to bring an exchange into each state: the command and what the server has said so far.
REACHED = {
    "done": (None, ()),
    "first": (Command.QUERY, ()),
    "upload": (Command.QUERY, (LOCAL,)),
    "definitions": (Command.QUERY, (COUNT,)),
    "eof after definitions": (Command.QUERY, (COUNT, ROW)),
    "rows": (Command.STMT_FETCH, ()),
    "prepared": (Command.STMT_PREPARE, ()),
    "fields": (Command.FIELD_LIST, ()),
    "text": (Command.STATISTICS, ()),
}
# Written out by hand, from the MySQL manual ("Command Phase"), on purpose: a table that came from the code would agree
# with any mistake made there. What is not here must break the exchange.
_D, _F = State.DONE, State.FIRST
LEGAL = {
    "done": {},
    "first": {
        "OK": _D, "OK_MORE": _F, "ERR": _D, "EOF": _D, "EOF_MORE": _F, "END": _D, "END_MORE": _F, "PREPARED": _D,
        "LONG_END": _D,  # as a column count it would mean 16 million columns
        "COUNT": State.DEFINITIONS, "ROW": State.DEFINITIONS, "LOCAL": State.UPLOAD,
    },
    "upload": {},
    "definitions": dict.fromkeys(PACKETS.keys() - {"ERR", "EMPTY"}, State.DEFINITIONS) | {"ERR": _D},
    "eof after definitions": {"EOF": State.ROWS, "EOF_MORE": State.ROWS, "END": State.ROWS, "END_MORE": State.ROWS, "ERR": _D},
    "rows": {
        **dict.fromkeys(("OK", "OK_MORE", "PREPARED", "COUNT", "LOCAL", "ROW"), State.ROWS),
        "ERR": _D, "EOF": _D, "EOF_MORE": _D, "END": _D, "END_MORE": _D,
    },
    "prepared": {"PREPARED": _D, "ERR": _D},
    "fields": {
        **dict.fromkeys(("OK", "OK_MORE", "PREPARED", "COUNT", "LOCAL", "ROW"), State.FIELDS),
        "ERR": _D, "EOF": _D, "EOF_MORE": _D, "END": _D, "END_MORE": _D,
    },
    "text": dict.fromkeys(PACKETS.keys() - {"EMPTY"}, _D),
}  # fmt: skip
DEPRECATED = {
    **LEGAL,
    "definitions": dict.fromkeys(LEGAL["definitions"], State.ROWS) | {"ERR": _D},
    "eof after definitions": LEGAL["rows"] | {"EOF_MORE": _F, "END_MORE": _F, "LONG_END": _D},
    "rows": LEGAL["rows"] | {"LONG_END": _D},
    "fields": LEGAL["fields"] | {"LONG_END": _D},
}


def reach(place, deprecate_eof):
    exchange = Exchange(deprecate_eof)
    command, said = REACHED[place]
    if command is not None:
        exchange.begin(command)
    for payload in said:
        exchange.feed(packet(payload, 1))
    return exchange


@pytest.mark.parametrize("deprecate_eof", [False, True])
@pytest.mark.parametrize("place", REACHED)
def test_a_packet_leads_only_where_the_protocol_says(place, deprecate_eof):
    for name, payload in PACKETS.items():
        exchange = reach(place, deprecate_eof)
        expected = (DEPRECATED if deprecate_eof else LEGAL)[place].get(name, State.BROKEN)
        data = packet(payload, 5)
        if name == "EMPTY":
            data += packet(OK, 6)  # an empty packet is judged when the next one begins
        with pytest.raises(ProtocolError) if expected is State.BROKEN else contextlib.nullcontext():
            exchange.feed(data)
        assert exchange.state is expected, name
        assert exchange.done == (expected is State.DONE), name


@pytest.mark.parametrize("command", [Command.STMT_FETCH, Command.FIELD_LIST])
@pytest.mark.parametrize("deprecate_eof", [False, True])
def test_more_results_mean_nothing_in_a_fetch_or_a_field_list(command, deprecate_eof):
    exchange = Exchange(deprecate_eof)
    exchange.begin(command)
    exchange.feed(packets(ROW, END_MORE if deprecate_eof else EOF_MORE))
    assert exchange.done


@pytest.mark.parametrize("command", [Command.QUIT, Command.STMT_SEND_LONG_DATA, Command.STMT_CLOSE])
def test_commands_without_a_response_leave_the_connection_between_exchanges(command):
    exchange = Exchange(True)
    exchange.begin(command)
    assert exchange.done
    exchange.begin(Command.PING)
    assert exchange.feed(packet(OK, 1)) == packet(OK, 1)


def test_a_command_is_refused_until_the_last_exchange_has_ended():
    exchange = Exchange(True)
    exchange.begin(Command.QUERY)
    with pytest.raises(ProtocolError, match="a command while expecting the first packet of a result"):
        exchange.begin(Command.PING)


@pytest.mark.parametrize("deprecate_eof", [False, True])
@pytest.mark.parametrize("said", [(PREPARED[:5] + b"\x02\x00\x02\x00" + bytes(3), ROW), (PREPARED[:5] + b"\x01" + bytes(6),)])
def test_a_response_that_an_error_cut_short_leaves_no_trace_in_the_next(said, deprecate_eof):
    exchange = Exchange(deprecate_eof)
    exchange.begin(Command.STMT_PREPARE)
    exchange.feed(packets(*said, ERR))
    assert exchange.done
    exchange.begin(Command.QUERY)
    rows = packets(COUNT, ROW, ROW, END) if deprecate_eof else packets(COUNT, ROW, EOF, ROW, EOF)
    assert exchange.feed(rows) == rows
    assert exchange.done


@pytest.mark.parametrize("place", [place for place in REACHED if place != "upload"])
def test_an_upload_ends_only_where_one_was_asked_for(place):
    with pytest.raises(ProtocolError, match="the end of an upload while"):
        reach(place, True).upload_ended()


class TestWhatAnExchangeTells:
    def test_status_error_and_changes(self):
        exchange = Exchange(True)
        exchange.begin(Command.QUERY)
        exchange.feed(packet(b"\x00\x00\x00\x03\x40\x00\x00\x00\x0b\x05\x09\x08T_______", 1))
        assert (exchange.status, exchange.changes, exchange.error) == (0x4003, [(5, b"\x08T_______")], None)
        exchange.begin(Command.QUERY)
        assert exchange.changes == []
        exchange.feed(packet(ERR, 1))
        assert (exchange.status, exchange.changes, exchange.error) == (0x4003, [], ERR)
        exchange.begin(Command.PING)
        assert exchange.error is None
        exchange.feed(packet(OK, 1))
        assert exchange.status == 2

    def test_changes_of_several_results_add_up(self):
        schema = b"\x00\x00\x00\x0a\x40\x00\x00\x00\x04\x01\x02\x01a"
        exchange = Exchange(True)
        exchange.begin(Command.QUERY)
        exchange.feed(packets(schema, schema[:-1] + b"b", OK))
        assert exchange.changes == [(1, b"\x01a"), (1, b"\x01b")]

    def test_whether_a_status_came_at_all(self):
        exchange = Exchange(False)
        for command, said, came in (
            (Command.QUERY, packet(OK), True),
            (Command.QUERY, packet(ERR), False),
            (Command.STATISTICS, packet(b"Uptime: 1"), False),
            (Command.STMT_PREPARE, packet(PREPARED), False),
            (Command.SET_OPTION, packet(EOF), True),
            (Command.QUERY, packets(COUNT, ROW, EOF, ROW, EOF), True),
        ):
            exchange.begin(command)
            exchange.feed(said)
            assert exchange.done
            assert exchange.has_status is came

    def test_rows_and_the_sequence_id_of_the_first_packet(self):
        exchange = Exchange(True)
        exchange.begin(Command.QUERY)
        assert (exchange.rows_seen, exchange.first_sequence) == (False, None)
        exchange.feed(packets(COUNT, ROW, ROW, END))
        assert (exchange.rows_seen, exchange.first_sequence) == (True, 1)
        exchange.begin(Command.QUERY)
        exchange.feed(packet(ERR, 0))
        assert (exchange.rows_seen, exchange.first_sequence) == (False, 0)

    def test_the_id_of_a_prepared_statement_stays_until_the_next(self):
        exchange = Exchange(True)
        exchange.begin(Command.STMT_PREPARE)
        exchange.feed(packet(b"\x00\x04\x03\x02\x01" + bytes(7), 1))
        assert exchange.statement_id == 0x01020304
        exchange.begin(Command.PING)
        exchange.feed(packet(OK, 1))
        assert exchange.statement_id == 0x01020304

    def test_being_among_rows(self):
        exchange = Exchange(True)
        exchange.begin(Command.QUERY)
        exchange.feed(packets(COUNT, ROW))
        assert exchange.in_rows
        exchange.feed(packet(END, 3))
        assert not exchange.in_rows

    def test_an_eof_loses_only_its_flag_of_session_changes(self):
        exchange = Exchange(False)
        exchange.begin(Command.QUERY)
        shown = exchange.feed(packets(COUNT, ROW, b"\xfe\x01\x00\x03\x40", ROW, b"\xfe\x01\x00\x03\x40"))
        assert shown == packets(COUNT, ROW, b"\xfe\x01\x00\x03\x00", ROW, b"\xfe\x01\x00\x03\x00")
        assert exchange.status == 0x4003


class TestLargePackets:
    FULL = b"\xff\xff\xff"

    @pytest.mark.parametrize("first", [b"\x03", b"\xfb", b"\xfd", b"\xfe"])  # the last: a column of 16 MiB or more
    @pytest.mark.parametrize("last", [0, 1, 9])
    @pytest.mark.parametrize("deprecate_eof", [False, True])
    def test_a_row_over_16_mib_is_passed_over_whatever_its_bytes(self, first, last, deprecate_eof):
        # The continuations begin with the headers of an error and of an end: they are data.
        big = self.FULL + b"\x03" + first + bytes(MAX_PAYLOAD - 1) + self.FULL + b"\x04\xff" + bytes(MAX_PAYLOAD - 1)
        tail = packet((b"\xfe" + bytes(8))[:last], 5) + packet(END if deprecate_eof else EOF, 6)
        exchange = Exchange(deprecate_eof)
        exchange.begin(Command.STMT_FETCH)
        assert exchange.feed(big) is big
        assert exchange.feed(tail) == tail
        assert exchange.done

    @pytest.mark.parametrize("around", [MAX_PAYLOAD + 3, MAX_PAYLOAD + 4, MAX_PAYLOAD + 5, MAX_PAYLOAD + 7, MAX_PAYLOAD + 8])
    def test_wherever_it_is_cut(self, around):
        wire = self.FULL + b"\x01" + b"\xfc" * MAX_PAYLOAD + packet(b"", 2) + packet(ROW, 3) + packet(END, 4)
        exchange = Exchange(True)
        exchange.begin(Command.STMT_FETCH)
        shown = [exchange.feed(wire[:around]), exchange.feed(wire[around : around + 1]), exchange.feed(wire[around + 1 :])]
        assert b"".join(shown) == wire
        assert exchange.done

    def test_rows_pass_uncopied_and_nothing_of_them_is_kept(self):
        exchange = Exchange(True)
        exchange.begin(Command.QUERY)
        exchange.feed(packets(COUNT, ROW))
        chunk = packets(*[b"\xfc\xe8\x03" + bytes(1000)] * 60) + b"\xe8\x03\x00\x01\x00"
        assert exchange.feed(chunk) is chunk
        chunk = bytes(900)
        assert exchange.feed(chunk) is chunk
        assert not exchange._held

    @pytest.mark.parametrize("place", ["first", "definitions", "prepared", "fields", "text"])
    def test_no_other_packet_may_be_continued(self, place):
        exchange = reach(place, True)
        with pytest.raises(ProtocolError, match="a packet of 16777215 bytes"):
            exchange.feed(self.FULL + b"\x01\x01")


@settings(max_examples=200)
@given(
    command=st.sampled_from([0x02, 0x03, 0x04, 0x09, 0x0D, 0x0E, 0x16, 0x17, 0x1B, 0x1C, 0x00, 0xFA]),
    deprecate_eof=st.booleans(),
    visibility=st.sampled_from(Visibility),
    payloads=st.lists(
        st.one_of(st.sampled_from(list(PACKETS.values())), st.binary(max_size=20), st.binary(max_size=9).map(b"\xfe".__add__)),
        max_size=6,
    ),
    data=st.data(),
)
def test_whatever_a_server_sends_only_a_protocol_error_comes_and_pieces_do_not_matter(
    command, deprecate_eof, visibility, payloads, data
):
    def outcome(chunks):
        exchange, shown = Exchange(deprecate_eof, visibility), []
        exchange.begin(command)
        try:
            for chunk in chunks:
                shown.append(exchange.feed(chunk))
        except ProtocolError:
            assert exchange.state is State.BROKEN
            return "broken", exchange.status, exchange.changes
        return b"".join(shown), exchange.state, exchange.status, exchange.changes, exchange.error

    wire = packets(*payloads)
    assert outcome([wire]) == outcome(data.draw(any_split(wire)) if wire else [wire])
