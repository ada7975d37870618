import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire_packets import Flag
from warmwire.protocol.capabilities import for_upstream, key_of, offered
from warmwire.protocol.constants import Capability

ALL = 0xFFFFFFFF
MARIADB = 0x81FFF7FE  # its greeting leaves LONG_PASSWORD clear
NEVER = [
    Flag.COMPRESS,
    Flag.NO_SCHEMA,
    Flag.SSL,
    Flag.OPTIONAL_RESULTSET_METADATA,
    Flag.ZSTD,
    Flag.QUERY_ATTRIBUTES,
    1 << 28,  # multi-factor authentication
    1 << 29,
    1 << 30,
    1 << 31,
]
"""What changes the framing in ways that are not relayed, or makes no sense on a local connection."""


def test_the_numbers_are_those_of_an_independent_list():
    other = {"CAN_HANDLE_EXPIRED_PASSWORDS": "EXPIRED_PASSWORDS"}
    ours = {name: value for name, value in vars(Capability).items() if name.isupper()}
    assert ours == {name: int(Flag[other.get(name, name)]) for name in ours}


@pytest.mark.parametrize("server", [ALL, MARIADB])
@pytest.mark.parametrize("flag", NEVER)
def test_what_cannot_be_relayed_is_never_offered(server, flag):
    assert not offered(server) & flag


@pytest.mark.parametrize("server", [ALL, MARIADB, 0])
def test_long_password_is_always_offered_so_that_no_client_looks_for_mariadbs_own_flags(server):
    assert offered(server) & Flag.LONG_PASSWORD


@pytest.mark.parametrize(
    "flag",
    [Flag.FOUND_ROWS, Flag.LOCAL_FILES, Flag.MULTI_STATEMENTS, Flag.MULTI_RESULTS, Flag.PS_MULTI_RESULTS, Flag.DEPRECATE_EOF,
     Flag.SESSION_TRACK, Flag.PLUGIN_AUTH, Flag.IGNORE_SPACE, Flag.INTERACTIVE],
)  # fmt: skip
def test_what_the_server_lacks_is_not_offered(flag):
    assert offered(ALL) & flag
    assert not offered(ALL & ~flag) & flag


KEY = Flag.FOUND_ROWS | Flag.LOCAL_FILES | Flag.MULTI_RESULTS | Flag.PS_MULTI_RESULTS | Flag.DEPRECATE_EOF


def test_the_pool_key_is_what_cannot_be_changed_after_the_login():
    assert key_of(ALL, ALL) == KEY
    assert key_of(ALL, ALL & ~Flag.DEPRECATE_EOF) == KEY & ~Flag.DEPRECATE_EOF
    assert key_of(Flag.FOUND_ROWS | Flag.SESSION_TRACK | Flag.MULTI_STATEMENTS, ALL) == Flag.FOUND_ROWS


@given(st.integers(0, ALL), st.integers(0, ALL), st.booleans(), st.booleans(), st.booleans())
def test_an_upstream_is_logged_in_with_its_key_and_nothing_that_the_server_lacks(client, server, multi, tls, database):
    key = key_of(client, server)
    flags = for_upstream(key, server, multi_statements=multi, tls=tls, database=database)
    assert flags & KEY == key
    assert not flags & ~server
    assert bool(flags & Flag.MULTI_STATEMENTS) == (multi and bool(server & Flag.MULTI_STATEMENTS))
    assert bool(flags & Flag.SSL) == (tls and bool(server & Flag.SSL))
    assert bool(flags & Flag.CONNECT_WITH_DB) == (database and bool(server & Flag.CONNECT_WITH_DB))
    assert bool(flags & Flag.SESSION_TRACK) == bool(server & Flag.SESSION_TRACK)
    assert not any(flags & flag for flag in NEVER if flag != Flag.SSL)
    assert not flags & (Flag.IGNORE_SPACE | Flag.INTERACTIVE | Flag.ODBC)


@given(st.integers(0, ALL), st.integers(0, ALL))
def test_a_client_that_asks_only_for_what_was_offered_gets_the_framing_of_its_upstream(client, server):
    negotiated = client & offered(server)
    upstream = for_upstream(key_of(client, server), server, multi_statements=False, tls=False, database=False)
    assert negotiated & KEY == upstream & KEY
