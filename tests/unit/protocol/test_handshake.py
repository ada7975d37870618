import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire_packets import PLAIN, Flag, encode_attributes, parse_greeting
from warmwire.errors import MalformedPacket, ProtocolError, ServerRefused
from warmwire.protocol.handshake import (
    Greeting,
    Login,
    read_change_user,
    read_error,
    read_greeting,
    read_login,
    write_change_user,
    write_error,
    write_greeting,
    write_login,
    write_ssl_request,
)

# Recorded.
MARIADB = (
    b"\n5.5.5-10.11.19-MariaDB-0+deb12u1\x00\x04\x00\x00\x00w5?{p?'G\x00\xfe\xf7\x08\x02\x00\xff\x81\x15"
    b"\x00\x00\x00\x00\x00\x00\x1d\x00\x00\x00ox1(s-$ls|68\x00mysql_native_password\x00"
)
MYSQL = (
    b"\n9.7.4-2\x00\t\x00\x00\x00:DgR4\x13S\x0b\x00\xff\xff\xff\x02\x00\xff\xdf\x15"
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00l/Fq\x0fN\r\x01\x19I^T\x00caching_sha2_password\x00"
)


class TestReadGreeting:
    def test_mariadb(self):
        assert read_greeting(MARIADB) == Greeting(
            b"5.5.5-10.11.19-MariaDB-0+deb12u1", 4, b"w5?{p?'Gox1(s-$ls|68", 0x81FFF7FE, 8, 2, b"mysql_native_password"
        )

    def test_mysql(self):
        assert read_greeting(MYSQL) == Greeting(
            b"9.7.4-2", 9, b":DgR4\x13S\x0bl/Fq\x0fN\r\x01\x19I^T", 0xDFFFFFFF, 255, 2, b"caching_sha2_password"
        )

    @pytest.mark.parametrize("greeting", [MARIADB, MYSQL])
    def test_a_greeting_that_is_cut_off_before_its_nonce_has_ended_is_refused_at_every_cut(self, greeting):
        nonce_end = greeting.index(b"\0", 1) + 1 + 31 + 12
        for cut in range(nonce_end):
            with pytest.raises(ProtocolError):
                read_greeting(greeting[:cut])
        for cut in range(nonce_end, len(greeting)):
            assert read_greeting(greeting[:cut])[:-1] == read_greeting(greeting)[:-1]

    def test_an_error_instead_of_a_greeting_is_the_servers(self):
        with pytest.raises(ServerRefused, match=r"^Too many connections$") as raised:
            read_greeting(b"\xff\x10\x04Too many connections")
        assert (raised.value.errno, raised.value.sqlstate) == (1040, "HY000")

    @pytest.mark.parametrize("payload", [b"", b"\x09" + MYSQL[1:], b"SSH-2.0-OpenSSH", b"HTTP/1.1 400 Bad Request\r\n"])
    def test_another_kind_of_server_is_recognised(self, payload):
        with pytest.raises(ProtocolError, match="does not greet like a MySQL server"):
            read_greeting(payload)

    @pytest.mark.parametrize("missing", [1 << 3, 1 << 9, 1 << 15, 1 << 19])
    def test_a_server_too_old_to_log_in_to_is_recognised(self, missing):
        old = read_greeting(MYSQL)._replace(capabilities=0xDFFFFFFF & ~missing)
        with pytest.raises(ProtocolError, match=r"older than that of MySQL 5\.5"):
            read_greeting(write_greeting(old))

    @given(st.binary(max_size=120))
    def test_any_bytes_are_read_or_refused(self, data):
        try:
            greeting = read_greeting(b"\x0a" + data)
        except ProtocolError:
            return
        assert len(greeting.nonce) == 20


greetings = st.builds(
    Greeting,
    version=st.text("0123456789.-abcMariaDB", max_size=40).map(str.encode),
    thread_id=st.integers(0, 0xFFFFFFFF),
    nonce=st.binary(min_size=20, max_size=20).map(lambda nonce: bytes(byte % 94 + 33 for byte in nonce)),
    capabilities=st.integers(0, 0x1FFFFFF).map(lambda flags: flags | PLAIN | Flag.CONNECT_WITH_DB),
    collation=st.integers(0, 255),
    status=st.sampled_from([0, 2, 3]),
    plugin=st.sampled_from([b"caching_sha2_password", b"mysql_native_password"]),
)


class TestWriteGreeting:
    @given(greetings)
    def test_any_greeting_is_understood_by_us_and_by_an_independent_client(self, greeting):
        payload = write_greeting(greeting)
        assert read_greeting(payload) == greeting
        other = parse_greeting(payload)
        assert (other.version, other.connection_id, other.nonce) == (greeting.version, greeting.thread_id, greeting.nonce)
        assert (other.flags, other.collation, other.status) == (greeting.capabilities, greeting.collation, greeting.status)
        assert other.plugin == greeting.plugin
        assert other.reserved == bytes(10)


FLAGS = PLAIN | Flag.CONNECT_WITH_DB
HEAD = FLAGS.to_bytes(4, "little") + b"\x00\x00\x00\x01\x2d" + bytes(23)
LOGIN = HEAD + b"app\0\x14" + b"p" * 20 + b"shop\0mysql_native_password\0"


def login_with(flags, tail):
    return int(flags).to_bytes(4, "little") + b"\x00\x00\x00\x01\x2d" + bytes(23) + tail


class TestReadLogin:
    def test_what_clients_of_today_send(self):
        assert read_login(LOGIN) == Login(FLAGS, 45, b"app", b"p" * 20, b"shop", b"mysql_native_password")

    @pytest.mark.parametrize(
        ("flags", "tail", "expected"),
        [
            (FLAGS, b"app\0\0\0mysql_native_password\0", (b"app", b"", None, b"mysql_native_password")),
            (FLAGS, b"\0\0\0\0", (b"", b"", None, None)),
            (FLAGS & ~Flag.PLUGIN_AUTH, b"app\0\x01pshop\0", (b"app", b"p", b"shop", None)),
            (FLAGS & ~Flag.CONNECT_WITH_DB, b"app\0\x01psha256_password\0", (b"app", b"p", None, b"sha256_password")),
            (FLAGS & ~Flag.PLUGIN_AUTH_LENENC, b"app\0\xfe" + b"p" * 254 + b"shop\0x\0", (b"app", b"p" * 254, b"shop", b"x")),
            (FLAGS, b"app\0\xfc\x2c\x01" + b"p" * 300 + b"shop\0x\0", (b"app", b"p" * 300, b"shop", b"x")),
            (Flag.PROTOCOL_41, b"app\0proof\0", (b"app", b"proof", None, None)),
            (Flag.PROTOCOL_41, b"app\0proof", (b"app", b"proof", None, None)),
            # Some drivers leave out the NUL at the end of the packet.
            (FLAGS, b"app\0\x01pshop\0mysql_native_password", (b"app", b"p", b"shop", b"mysql_native_password")),
            (FLAGS & ~Flag.PLUGIN_AUTH, b"app\0\x01pshop", (b"app", b"p", b"shop", None)),
        ],
    )
    def test_other_forms(self, flags, tail, expected):
        assert read_login(login_with(flags, tail)) == Login(flags, 45, *expected)

    def test_connection_attributes_are_passed_over(self):
        payload = login_with(FLAGS | Flag.CONNECT_ATTRS, LOGIN[32:] + encode_attributes({"program_name": "x" * 300}))
        assert read_login(payload)[2:] == read_login(LOGIN)[2:]

    def test_a_login_that_is_cut_off_is_refused_or_shorter_at_every_cut(self):
        proof_end = 32 + 4 + 21
        for cut in range(len(LOGIN)):
            if cut < proof_end:
                with pytest.raises(MalformedPacket):
                    read_login(LOGIN[:cut])
            else:  # what is missing may be missing
                login = read_login(LOGIN[:cut])
                assert (login.user, login.response) == (b"app", b"p" * 20)
                assert b"shop".startswith(login.database or b"")
                assert b"mysql_native_password".startswith(login.plugin or b"")

    def test_a_request_for_tls_is_told_how_to_do_without(self):
        request = (FLAGS | Flag.SSL).to_bytes(4, "little") + b"\x00\x00\x00\x01\x2d" + bytes(23)
        with pytest.raises(MalformedPacket, match="TLS was asked for, but is not offered on the local connection: switch"):
            read_login(request)

    def test_the_protocol_of_mysql_4_is_recognised(self):
        with pytest.raises(MalformedPacket, match=r"MySQL 4\.0 and older"):
            read_login(login_with(FLAGS & ~Flag.PROTOCOL_41, LOGIN[32:]))

    def test_a_user_name_without_end_does_no_harm(self):
        with pytest.raises(MalformedPacket, match="a string has no NUL at its end"):
            read_login(login_with(FLAGS, b"a" * 60_000))

    @given(st.integers(0, 0xFFFFFFFF), st.binary(max_size=80))
    def test_any_bytes_are_read_or_refused(self, flags, tail):
        try:
            login = read_login(login_with(flags, tail))
        except MalformedPacket:
            return
        assert login.user in tail and login.response in tail

    @given(st.binary(max_size=120))
    def test_really_any_bytes(self, data):
        try:
            read_login(data)
        except MalformedPacket:
            return


names = st.binary(max_size=30).map(lambda name: name.replace(b"\0", b""))
logins = st.builds(
    Login,
    capabilities=st.just(int(FLAGS)),
    collation=st.integers(0, 255),
    user=names,
    response=st.binary(max_size=32),
    database=names.filter(bool),
    plugin=names.filter(bool),
)


class TestWriteLogin:
    @given(logins, st.dictionaries(st.text("abc"), st.text("abc", max_size=300), max_size=3))
    def test_what_we_send_is_what_servers_read(self, login, attributes):
        login = login._replace(capabilities=login.capabilities | Flag.CONNECT_ATTRS)
        payload = write_login(login, {name.encode(): value.encode() for name, value in attributes.items()})
        assert read_login(payload) == login
        assert payload.endswith(encode_attributes(attributes))

    def test_without_a_database_or_a_plugin_there_is_no_place_for_them(self):
        login = Login(int(PLAIN & ~Flag.PLUGIN_AUTH), 8, b"app", b"p", None, None)
        assert write_login(login, {b"a": b"b"}) == write_ssl_request(login) + b"app\0\x01p"

    def test_the_request_for_tls_is_the_front_of_the_login(self):
        login = Login(int(FLAGS | Flag.SSL), 45, b"app", b"p", b"shop", b"x")
        request = write_ssl_request(login)
        assert len(request) == 32
        assert write_login(login, {}).startswith(request)
        assert int.from_bytes(request[:4], "little") == FLAGS | Flag.SSL
        assert request[8] == 45


CHANGE = b"\x11app\0\x14" + b"p" * 20 + b"shop\0\x2d\x00mysql_native_password\0"


class TestChangeUser:
    def test_what_clients_of_today_send(self):
        assert read_change_user(CHANGE, FLAGS) == Login(FLAGS, 45, b"app", b"p" * 20, b"shop", b"mysql_native_password")

    @pytest.mark.parametrize(
        ("flags", "payload", "expected"),
        [
            (FLAGS, b"\x11app\0\0\0", (0, b"app", b"", None, None)),
            (FLAGS, b"\x11app\0\0", (0, b"app", b"", None, None)),
            (FLAGS, b"\x11app\0\0shop", (0, b"app", b"", b"shop", None)),
            (FLAGS, b"\x11app\0\0shop\0\xff\x00", (255, b"app", b"", b"shop", None)),
            (FLAGS, b"\x11app\0\0shop\0\xff\x01x", (511, b"app", b"", b"shop", b"x")),
            (FLAGS & ~Flag.PLUGIN_AUTH, b"\x11app\0\0shop\0\xff\x00x\0", (255, b"app", b"", b"shop", None)),
            (Flag.PROTOCOL_41, b"\x11app\0proof\0shop\0", (0, b"app", b"proof", b"shop", None)),
        ],
    )
    def test_other_forms(self, flags, payload, expected):
        assert read_change_user(payload, flags) == Login(flags, *expected)

    def test_one_that_is_cut_off_is_refused_or_shorter_at_every_cut(self):
        proof_end = 1 + 4 + 21
        for cut in range(1, len(CHANGE)):
            if cut < proof_end:
                with pytest.raises(MalformedPacket, match="COM_CHANGE_USER is malformed"):
                    read_change_user(CHANGE[:cut], FLAGS)
            else:
                login = read_change_user(CHANGE[:cut], FLAGS)
                assert (login.user, login.response) == (b"app", b"p" * 20)

    @given(st.integers(0, 0xFFFFFFFF), st.binary(max_size=60))
    def test_any_bytes_are_read_or_refused(self, flags, data):
        try:
            read_change_user(b"\x11" + data, flags)
        except MalformedPacket:
            return

    @given(logins)
    def test_what_we_send_is_what_servers_read(self, login):
        assert read_change_user(write_change_user(login, {}), FLAGS) == login

    def test_no_database_is_an_empty_one_and_attributes_come_last(self):
        login = Login(int(PLAIN | Flag.CONNECT_ATTRS), 45, b"app", b"p", None, b"x")
        assert write_change_user(login, {b"a": b"b"}) == b"\x11app\0\x01p\0\x2d\x00x\0\x04\x01a\x01b"


class TestErrors:
    def test_after_the_greeting_an_error_has_a_sqlstate(self):
        payload = write_error(1045, "28000", "Zugriff verweigert für 'x'")
        assert payload == b"\xff\x15\x04#28000Zugriff verweigert f\xc3\xbcr 'x'"
        problem = read_error(payload)
        assert (problem.errno, problem.sqlstate, str(problem)) == (1045, "28000", "Zugriff verweigert für 'x'")

    def test_before_it_has_none(self):
        payload = write_error(1040, "08004", "Too many connections", greeted=False)
        assert payload == b"\xff\x10\x04Too many connections"
        problem = read_error(payload)
        assert (problem.errno, problem.sqlstate, str(problem)) == (1040, "HY000", "Too many connections")

    @given(st.binary(max_size=40))
    def test_any_bytes_make_an_error_that_can_be_passed_on(self, data):
        problem = read_error(b"\xff" + data)
        again = write_error(problem.errno, problem.sqlstate, str(problem))
        assert read_error(again).errno == problem.errno
        assert len(problem.sqlstate) == 5
