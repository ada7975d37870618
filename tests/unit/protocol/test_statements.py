import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmwire.protocol.statements import first_word, is_peculiar, leaves_traces, only_reads, sets_trackers


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        (b"SELECT 1", b"SELECT"),
        (b"select 1", b"SELECT"),
        (b" \t\r\n\f\v Update t", b"UPDATE"),
        (b"((SELECT 1))", b"SELECT"),
        (b";;DELETE FROM t", b"DELETE"),
        (b"SELECT", b"SELECT"),
        (b"SELECT/**/1", b"SELECT"),
        (b"SELECT*FROM t", b"SELECT"),
        (b"SHOW\nTABLES", b"SHOW"),
        (b"/* a comment */ INSERT INTO t", b"INSERT"),
        (b"/* SELECT */UPDATE t", b"UPDATE"),
        (b"/**//**/ DO 0", b"DO"),
        (b"/*+ a hint where none belongs */ SELECT 1", b"SELECT"),
        (b"-- SELECT\nUPDATE t", b"UPDATE"),
        (b"--\nUPDATE t", b"UPDATE"),
        (b"--\tSELECT\nUPDATE t", b"UPDATE"),
        (b"# SELECT\n#\nUPDATE t", b"UPDATE"),
        (b"WITH x AS (SELECT 1) UPDATE t", b"WITH"),
        (b"{call p()}", b""),
        (b"--1", b""),  # a comment needs a blank; this is minus minus one
        (b"/*! SELECT */", b""),  # servers execute it
        (b"/*!50000 DELETE FROM t */", b""),
        (b"/*M! DELETE FROM t */", b""),
        (b"/* never closed SELECT", b""),
        (b"-- never ended SELECT", b""),
        (b"#", b""),
        (b"", b""),
        (b"   ", b""),
        (b"/*", b""),
        (b"/*/", b""),
        (b"\xc3\xa9SELECT", b""),
    ],
)
def test_the_first_word_comes_after_blanks_brackets_and_comments(sql, word):
    assert first_word(sql) == word


@given(st.binary(max_size=60) | st.text("/*-!M# \n(;SELECTxyz", max_size=60).map(str.encode))
def test_whatever_is_sent_the_first_word_is_letters_that_are_there(sql):
    word = first_word(sql)
    assert word == b"" or (word.isalpha() and word.isupper() and word in sql.upper())


READS = (
    "SELECT 1", "(SELECT 1)", "show tables", "EXPLAIN DELETE FROM t", "DESC t", "DESCRIBE t", "TABLE t", "VALUES ROW(1)",
    "HELP 'x'", "SET @a = 1", "USE app", "DO 0", "BEGIN", "START TRANSACTION", "SAVEPOINT a", "RELEASE SAVEPOINT a",
    "ROLLBACK TO a", "CHECKSUM TABLE t", "/* app */ SELECT 1",
)  # fmt: skip
MAY_WRITE = (
    "INSERT INTO t VALUES (1)", "UPDATE t SET a = 1", "DELETE FROM t", "REPLACE INTO t VALUES (1)", "CALL p()", "COMMIT",
    "WITH x AS (SELECT 1) DELETE FROM t", "LOAD DATA INFILE 'x' INTO TABLE t", "CREATE TABLE t (a INT)", "DROP TABLE t",
    "ALTER TABLE t ADD b INT", "TRUNCATE t", "ANALYZE UPDATE t SET a = 1", "EXECUTE s", "HANDLER t OPEN", "XA START 'x'",
    "/*! SELECT */ 1", "SELECTED", "", "LOCK TABLES t WRITE", "GRANT ALL ON t TO u", "OPTIMIZE TABLE t",
)  # fmt: skip


@pytest.mark.parametrize("sql", READS)
def test_statements_that_change_no_data(sql):
    assert only_reads(sql.encode())


@pytest.mark.parametrize("sql", MAY_WRITE)
def test_every_other_statement_may_have_written(sql):
    assert not only_reads(sql.encode())


@pytest.mark.parametrize(
    ("sql", "traces", "trackers"),
    [
        (b"SET profiling = 1", True, False),
        (b"set @@session.PROFILING=1", True, False),
        (b"SHOW PROFILES", False, False),
        (b"SELECT @@profiling", False, False),
        (b"SET session_track_schema = 0", False, True),
        (b"SET @@SESSION.SESSION_TRACK_SYSTEM_VARIABLES='*'", False, True),
        (b"/* x */ SET a=1, session_track_gtids=OWN_GTID", False, True),
        (b"SET profiling = 1, session_track_schema = 0", True, True),
        (b"SELECT 1", False, False),
    ],
)
def test_what_leaves_traces_or_sets_trackers_is_found_and_the_quick_question_misses_none(sql, traces, trackers):
    assert leaves_traces(sql) is traces
    assert sets_trackers(sql) is trackers
    assert is_peculiar(sql) or not (traces or trackers)
