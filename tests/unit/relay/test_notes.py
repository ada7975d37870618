import pytest

from tests.splits import packet, packets
from warmwire.protocol.constants import Command
from warmwire.protocol.exchange import Exchange
from warmwire.relay.notes import Notes

OK = packet(b"\0\0\0\2\0\0\0", 1)
ERROR = packet(b"\xff\x28\x04#42000no", 1)


class Session:
    """A client's commands and their answers, one after the other."""

    def __init__(self):
        self.exchange = Exchange(True)
        self.notes = Notes()

    def says(self, head, answer=OK):
        """A command with its answer; gives whether it is of a kind that changes no data."""
        self.notes.head = head
        self.exchange.begin(head[0])
        if head[0] in (Command.STMT_CLOSE, Command.STMT_SEND_LONG_DATA):
            self.notes.after_silent()
            return None
        self.exchange.feed(answer)
        assert self.exchange.done
        self.notes.after(self.exchange)
        return self.notes.only_reads()

    def prepares(self, sql, number):
        return self.says(b"\x16" + sql, packet(b"\x00" + number.to_bytes(4, "little") + bytes(7), 1))

    def executes(self, number):
        return self.says(b"\x17" + number.to_bytes(4, "little") + bytes(5))


@pytest.mark.parametrize(("sql", "reads"), [(b"SELECT 1", True), (b"UPDATE t SET a = 1", False), (b"", False)])
def test_a_query_is_judged_by_its_first_word(sql, reads):
    assert Session().says(b"\x03" + sql) is reads


@pytest.mark.parametrize("head", [b"\x0e", b"\x02app", b"\x1a\x01\x00\x00\x00", b"\x09", b"\x1b\x00\x00"])
def test_commands_that_are_no_statements_change_no_data(head):
    answers = {0x09: packet(b"Uptime: 1", 1)}
    assert Session().says(head, answers.get(head[0], OK)) is True


class TestPreparedStatements:
    def test_an_execution_is_judged_by_what_was_prepared_under_its_id(self):
        session = Session()
        session.prepares(b"SELECT 1", 1)
        session.prepares(b"DELETE FROM t", 2)
        assert (session.executes(1), session.executes(2), session.executes(1)) == (True, False, True)

    def test_an_id_that_nobody_knows_may_write(self):
        assert Session().executes(7) is False

    def test_a_statement_that_could_not_be_prepared_is_not_remembered(self):
        session = Session()
        session.says(b"\x16SELECT nope", ERROR)
        assert session.executes(0) is False

    def test_a_closed_statement_is_forgotten_and_its_id_may_mean_another(self):
        session = Session()
        session.prepares(b"SELECT 1", 1)
        session.says(b"\x19\x01\x00\x00\x00")
        assert session.executes(1) is False
        session.prepares(b"SELECT 1", 1)
        session.says(b"\x18\x01\x00\x00\x00\x00\x00data")
        assert session.executes(1) is True

    def test_closing_what_was_never_prepared_does_no_harm(self):
        Session().says(b"\x19\x09\x00\x00\x00")

    def test_a_reset_forgets_them_all(self):
        session = Session()
        session.prepares(b"SELECT 1", 1)
        session.notes.forget_session()
        assert session.executes(1) is False


class TestPeculiarStatements:
    def test_traces_that_no_reset_clears_are_remembered_even_after_one(self):
        session = Session()
        session.says(b"\x03SET profiling = 1")
        session.says(b"\x03SELECT 1", packets(b"\x01", b"\x03abc", b"\xfe\x00\x00\x02\x00\x00\x00"))
        session.notes.forget_session()
        assert session.notes.has_left_traces

    def test_trackers_that_the_client_has_set_are_remembered_until_a_reset(self):
        session = Session()
        session.says(b"\x03SET SESSION session_track_schema = 0")
        assert session.notes.has_set_trackers and not session.notes.has_left_traces
        session.says(b"\x03DO 0")
        assert session.notes.has_set_trackers
        session.notes.forget_session()
        assert not session.notes.has_set_trackers

    def test_preparing_such_a_statement_is_as_good_as_running_it(self):
        session = Session()
        session.prepares(b"SET @@session_track_schema = ?", 1)
        assert session.notes.has_set_trackers

    def test_ordinary_statements_are_neither(self):
        session = Session()
        session.says(b"\x03SET @a = 1")
        assert not session.notes.has_left_traces and not session.notes.has_set_trackers
