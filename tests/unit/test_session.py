import itertools

import pytest

from warmwire.protocol.constants import Capability
from warmwire.protocol.handshake import Login
from warmwire.session import Baseline, Charset, baseline_of, init_db, query, set_multi_statements, settings


@pytest.mark.parametrize(("ignore_space", "multi"), list(itertools.product([False, True], repeat=2)))
def test_a_baseline_is_what_the_login_asks_for(ignore_space, multi):
    flags = Capability.PROTOCOL_41 | Capability.INTERACTIVE | Capability.FOUND_ROWS
    flags |= Capability.IGNORE_SPACE * ignore_space | Capability.MULTI_STATEMENTS * multi
    assert baseline_of(Login(flags, 45, b"app", b"proof", b"shop", None)) == Baseline(b"shop", 45, ignore_space, multi)


def test_no_database_is_a_baseline_too():
    assert baseline_of(Login(0, 8, b"app", b"", None, None)).database is None


@pytest.mark.parametrize(
    ("ignore_space", "charset", "sql"),
    [
        (False, Charset.KEEP, "SET @@SESSION.wait_timeout=600,@@SESSION.session_track_transaction_info='STATE'"),
        (
            True,
            Charset.KEEP,
            "SET @@SESSION.wait_timeout=600,@@SESSION.session_track_transaction_info='STATE',"
            "@@SESSION.sql_mode=CONCAT('IGNORE_SPACE,',@@SESSION.sql_mode)",
        ),
        (
            False,
            Charset.BY_ID,
            "SET @@SESSION.character_set_client=45,@@SESSION.character_set_results=45,@@SESSION.collation_connection=45,"
            "@@SESSION.wait_timeout=600,@@SESSION.session_track_transaction_info='STATE'",
        ),
        (
            False,
            Charset.CONFIRM,
            "SET @@SESSION.collation_connection=45,@@SESSION.wait_timeout=600,"
            "@@SESSION.session_track_transaction_info='STATE'",
        ),
        (
            False,
            Charset.GLOBAL,
            "SET @@SESSION.character_set_client=@@GLOBAL.character_set_client,"
            "@@SESSION.character_set_results=@@GLOBAL.character_set_results,"
            "@@SESSION.collation_connection=@@GLOBAL.collation_connection,"
            "@@SESSION.wait_timeout=600,@@SESSION.session_track_transaction_info='STATE'",
        ),
    ],
)
def test_the_statement_that_brings_a_session_to_its_baseline(ignore_space, charset, sql):
    assert settings(Baseline(b"shop", 45, ignore_space, False), 600, charset) == b"\x03" + sql.encode()


def test_the_payloads_of_commands():
    assert query("SELECT 'ü'") == b"\x03SELECT '\xc3\xbc'"
    assert init_db(b"shop") == b"\x02shop"
    assert set_multi_statements(True) == b"\x1b\x00\x00"
    assert set_multi_statements(False) == b"\x1b\x01\x00"
