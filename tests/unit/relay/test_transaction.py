import pytest

from tests.captures import mariadb, mysql
from tests.splits import packet, packets
from warmwire.clock import Instant
from warmwire.protocol.constants import Command
from warmwire.protocol.exchange import Exchange
from warmwire.relay.transaction import Transaction

NOW, LATER = Instant(100.0, 10.0), Instant(107.0, 17.0)
IN_TRANSACTION, AUTOCOMMIT = 1, 2
ERROR = packet(b"\xff\x28\x04#42000no", 1)


def ok(status, state=None):
    if state is None:
        return packet(b"\0\0\0" + status.to_bytes(2, "little") + b"\0\0", 1)
    block = b"\x05\x09\x08" + state
    return packet(b"\0\0\0" + (status | 0x4000).to_bytes(2, "little") + b"\0\0\0" + bytes((len(block),)) + block, 1)


class Session:
    """A client's exchanges, one after the other."""

    def __init__(self, deprecate_eof=True):
        self.exchange = Exchange(deprecate_eof)
        self.transaction = Transaction()

    def hears(self, response, *, reads=False, command=Command.QUERY, now=NOW):
        self.exchange.begin(command)
        self.exchange.feed(response)
        assert self.exchange.done
        self.transaction.after(self.exchange, lambda: reads, now)
        return self.transaction


def test_at_first_nothing_is_open():
    transaction = Transaction()
    assert not (transaction.is_open or transaction.is_unsure or transaction.has_written or transaction.has_locked_tables)
    assert transaction.since is None


def test_a_transaction_that_only_reads():
    session = Session()
    session.hears(ok(3, b"T_______"), now=NOW)
    transaction = session.hears(ok(3, b"T_R___S_"), now=LATER)
    assert (transaction.is_open, transaction.has_written, transaction.since, transaction.statements) == (True, False, NOW, 2)
    transaction = session.hears(ok(2, b"________"))
    assert (transaction.is_open, transaction.since, transaction.statements) == (False, None, 0)


@pytest.mark.parametrize("state", [b"T___W_S_", b"T__w____", b"I_R_W_S_", b"T_Rw_s__"])
def test_a_transaction_that_writes_has_written_until_it_ends(state):
    session = Session()
    session.hears(ok(3, b"T_______"))
    assert session.hears(ok(3, state)).has_written
    assert session.hears(ok(3)).has_written
    assert session.hears(ok(3, b"________")).has_written  # MySQL 9.7 says so after CREATE TEMPORARY TABLE; the flag is right
    transaction = session.hears(ok(2, b"________"))
    assert (transaction.is_open, transaction.has_written) == (False, False)


def test_locked_tables_are_open_until_the_server_says_otherwise():
    session = Session()
    transaction = session.hears(ok(2, b"_______L"))
    assert (transaction.is_open, transaction.has_locked_tables, transaction.has_written) == (True, True, True)
    assert session.hears(ok(2)).is_open  # the tracker reports changes only
    assert not session.hears(ok(2, b"________")).is_open


class TestErrors:
    def test_an_error_leaves_everything_open_to_doubt_until_the_next_status(self):
        session = Session()
        assert session.hears(ERROR).is_unsure
        transaction = session.hears(ok(2))
        assert (transaction.is_unsure, transaction.is_open) == (False, False)

    def test_what_failed_may_have_written_if_it_is_of_that_kind(self):
        session = Session()
        session.hears(ERROR, reads=False)
        assert session.hears(ok(3, b"T_______")).has_written
        session = Session()
        session.hears(ERROR, reads=True)
        assert not session.hears(ok(3, b"T_______")).has_written

    def test_a_failed_read_does_not_forget_what_was_written_before(self):
        session = Session()
        session.hears(ok(3, b"T___W_S_"))
        assert session.hears(ERROR, reads=True).has_written

    @pytest.mark.parametrize(
        ("command", "response"),
        [
            (Command.STATISTICS, packet(b"Uptime: 1", 1)),
            (Command.STMT_PREPARE, packet(b"\x00\x01\x00\x00\x00" + bytes(7), 1)),
        ],
    )
    def test_an_answer_without_status_flags_settles_nothing(self, command, response):
        session = Session()
        session.hears(ok(2))
        session.hears(ERROR)
        assert session.hears(response, command=command).is_unsure

    def test_asking_the_server_settles_it(self):
        session = Session()
        session.hears(ok(2, b"_______L"))
        session.hears(ERROR)
        session.transaction.note(AUTOCOMMIT | IN_TRANSACTION, None, LATER)
        assert (session.transaction.is_unsure, session.transaction.is_open) == (False, True)
        session.transaction.note(AUTOCOMMIT, None, LATER)
        assert session.transaction.is_open  # the lock is still there
        session.transaction.note(AUTOCOMMIT, b"________", LATER)
        assert not session.transaction.is_open


class TestBlindSpots:
    ROWS = packets(b"\x01", b"\x03abc", b"\xfe\x00\x00\x03\x00", b"\x011", b"\xfe\x00\x00\x03\x00")
    ROWS_DEPRECATED = packets(b"\x01", b"\x03abc", b"\x011", b"\xfe\x00\x00\x03\x00\x00\x00")

    @pytest.mark.parametrize("reads", [True, False])
    def test_where_eofs_are_not_deprecated_a_result_set_loses_the_report_and_the_kind_of_statement_decides(self, reads):
        session = Session(deprecate_eof=False)
        session.hears(ok(3, b"T_______"))
        assert session.hears(self.ROWS, reads=reads).has_written is not reads

    def test_where_they_are_the_report_decides_alone(self):
        session = Session(deprecate_eof=True)
        session.hears(ok(3, b"T_______"))
        assert not session.hears(self.ROWS_DEPRECATED, reads=False).has_written

    def test_an_answer_without_rows_never_loses_it(self):
        session = Session(deprecate_eof=False)
        session.hears(ok(3, b"T_______"))
        assert not session.hears(ok(3), reads=False).has_written

    @pytest.mark.parametrize("reads", [True, False])
    def test_a_tracker_that_the_client_has_set_is_not_relied_on(self, reads):
        session = Session()
        session.transaction.is_tracked = False
        session.hears(ok(3), reads=True)
        assert session.hears(ok(3), reads=reads).has_written is not reads

    def test_the_kind_of_statement_is_not_asked_for_where_it_does_not_matter(self):
        transaction, exchange = Transaction(), Exchange(True)
        exchange.begin(Command.QUERY)
        exchange.feed(ok(2))
        transaction.after(exchange, lambda: pytest.fail("asked"), NOW)
        assert not transaction.is_open


class TestWhetherItIsConcerned:
    @staticmethod
    def heard(response):
        exchange = Exchange(True)
        exchange.begin(Command.QUERY)
        exchange.feed(response)
        return exchange

    def test_an_ordinary_exchange_outside_of_a_transaction_does_not_concern_it(self):
        assert not Transaction().is_concerned(self.heard(ok(2)))

    @pytest.mark.parametrize("response", [ok(3), ok(2, b"_______L"), ERROR])
    def test_whatever_could_tell_of_one_does(self, response):
        assert Transaction().is_concerned(self.heard(response))

    @pytest.mark.parametrize("before", [ok(3), ok(2, b"_______L"), ERROR])
    def test_while_one_is_or_may_be_open_everything_does(self, before):
        session = Session()
        session.hears(before)
        assert session.transaction.is_concerned(self.heard(ok(2)))


@pytest.mark.parametrize("module", [mariadb, mysql], ids=lambda module: module.VERSION)
@pytest.mark.parametrize("deprecate_eof", [True, False])
def test_a_recorded_conversation(module, deprecate_eof):
    session = Session(deprecate_eof)
    found = {}
    for response in module.RESPONSES:
        if response.deprecate_eof is deprecate_eof and response.upload_at is None and response.ours:
            reads = "read" in response.name or response.command != Command.QUERY
            transaction = session.hears(response.ours, reads=reads, command=response.command)
            found[response.name] = (transaction.is_open, transaction.has_written)
    open_ones = {name: written for name, (is_open, written) in found.items() if is_open}
    assert open_ones == {
        "begin": False, "read in a transaction": False, "write in a transaction": True, "lock tables": True,
    }  # fmt: skip
