"""What the first word of a statement tells that no flag of the server does."""

_READS = frozenset(
    b"SELECT SHOW EXPLAIN DESCRIBE DESC TABLE VALUES HELP SET USE DO BEGIN START SAVEPOINT RELEASE ROLLBACK CHECKSUM".split()
)

HEAD_SIZE = 512
"""Bytes of a statement that are looked at."""


def first_word(sql: bytes) -> bytes:
    """The first word of a statement in upper case, after blanks, opening brackets and comments.

    Empty if there is none among the bytes given, or if the statement begins with a comment that servers execute.
    """
    at = 0
    while at < len(sql):
        if sql[at : at + 1] in b" \t\r\n\f\v(;":
            at += 1
        elif sql.startswith((b"/*!", b"/*M!"), at):
            return b""
        elif sql.startswith(b"/*", at):
            end = sql.find(b"*/", at + 2)
            if end < 0:
                return b""
            at = end + 2
        elif sql.startswith((b"-- ", b"--\t", b"--\n", b"#"), at):
            end = sql.find(b"\n", at)
            if end < 0:
                return b""
            at = end + 1
        else:
            break
    end = at
    while end < len(sql) and (sql[end : end + 1].isalpha()):
        end += 1
    return sql[at:end].upper()


def only_reads(sql: bytes) -> bool:
    """Whether a statement's first word belongs to those that change no data. (A function in a SELECT still may.)"""
    return first_word(sql) in _READS


def is_peculiar(sql: bytes) -> bool:
    """Whether :func:`leaves_traces` or :func:`sets_trackers` may say yes; quick, because every statement is asked."""
    lower = sql.lower()
    return b"profiling" in lower or b"session_track" in lower


def leaves_traces(sql: bytes) -> bool:
    """Whether a statement leaves something that no reset clears: MariaDB keeps the profiles of past statements."""
    return b"profiling" in sql.lower() and first_word(sql) == b"SET"


def sets_trackers(sql: bytes) -> bool:
    """Whether a statement may change what the server reports of the session."""
    return b"session_track" in sql.lower()
