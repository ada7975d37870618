import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmwire.errors import ProtocolError
from warmwire.protocol.codec import write_int, write_string
from warmwire.protocol.tracking import Ok, Visibility, last_of_each, read_ok, transaction_state_of, write_ok

CHANGED = 0x4000
TIME_ZONE = (0, b"\x09time_zone\x06+01:00")
SCHEMA = (1, b"\x03app")
STATE = (2, b"\x011")
CHARACTERISTICS = (4, b"\x00")
TRANSACTION = (5, b"\x08T___W_S_")


def ok_packet(*, header=0, affected=0, last_id=0, status=2, warnings=0, info=None, changes=None):
    """As a server builds it: info is a length-encoded string, and is there if it or a block of changes is."""
    payload = bytes((header,)) + write_int(affected) + write_int(last_id)
    if changes is not None:
        status |= CHANGED
    payload += status.to_bytes(2, "little") + warnings.to_bytes(2, "little")
    if info or changes is not None:
        payload += write_string(info or b"")
    if changes is not None:
        payload += write_string(b"".join(bytes((kind,)) + write_string(data) for kind, data in changes))
    return payload


@pytest.mark.parametrize("visibility", Visibility)
@pytest.mark.parametrize("info", [None, b"Rows matched: 1  Changed: 1  Warnings: 0"])
def test_a_packet_without_changes_is_passed_on_as_the_very_same_object(visibility, info):
    payload = ok_packet(affected=1, last_id=300, warnings=2, info=info)
    ok = read_ok(payload, visibility)
    assert ok == Ok(2, (), payload)
    assert ok.shown is payload


# What each kind of client is shown of these changes: None, the same packet; else the changes that are left of it.
SHOWN = [
    ([], None, None),  # an empty block: seen on both servers
    ([SCHEMA], None, None),
    ([TIME_ZONE, SCHEMA, STATE], None, None),
    ([TRANSACTION], None, []),
    ([CHARACTERISTICS, TRANSACTION], None, []),
    ([TIME_ZONE, TRANSACTION], None, [TIME_ZONE]),
    ([TRANSACTION, SCHEMA, CHARACTERISTICS, STATE], None, [SCHEMA, STATE]),
]


@pytest.mark.parametrize("header", [0x00, 0xFE])
@pytest.mark.parametrize("info", [None, b"Records: 3", b"x" * 300])
@pytest.mark.parametrize(("changes", "everything", "defaults"), SHOWN)
def test_each_kind_of_client_is_shown_what_it_asked_for(changes, everything, defaults, info, header):
    parts = {"header": header, "affected": 3, "last_id": 70_000, "warnings": 1, "info": info}
    payload = ok_packet(**parts, changes=changes)
    plain = ok_packet(**parts)
    for visibility, left in ((Visibility.EVERYTHING, everything), (Visibility.DEFAULTS, defaults)):
        ok = read_ok(payload, visibility)
        assert (ok.status, ok.changes) == (2 | CHANGED, tuple(changes))
        assert ok.shown == (payload if left is None else ok_packet(**parts, changes=left) if left else plain)
    ok = read_ok(payload, Visibility.NOTHING)
    assert (ok.status, ok.changes, ok.shown) == (2 | CHANGED, tuple(changes), plain)


def test_a_flag_without_any_block_is_taken_away():
    payload = b"\x00\x00\x00\x02\x40\x00\x00"
    assert read_ok(payload, Visibility.NOTHING) == Ok(2 | CHANGED, (), b"\x00\x00\x00\x02\x00\x00\x00")


changes = st.lists(
    st.one_of(
        st.sampled_from([TIME_ZONE, SCHEMA, STATE, CHARACTERISTICS, TRANSACTION]),
        st.tuples(st.sampled_from([1, 2, 3, 4, 9]), st.binary(max_size=300)),
    ),
    max_size=5,
)


@given(
    header=st.sampled_from([0x00, 0xFE]), affected=st.integers(0, 2**64 - 1), last_id=st.integers(0, 2**64 - 1),
    status=st.integers(0, 0xFFFF).map(lambda status: status & ~CHANGED), warnings=st.integers(0, 0xFFFF),
    info=st.binary(max_size=300), changes=changes,
)  # fmt: skip
def test_stripping_any_packet_gives_the_packet_that_was_never_tracked(changes, **parts):
    ok = read_ok(ok_packet(**parts, changes=changes), Visibility.NOTHING)
    assert ok == Ok(parts["status"] | CHANGED, tuple(changes), ok_packet(**parts))
    assert read_ok(ok.shown, Visibility.NOTHING).shown is ok.shown


def test_a_packet_that_is_cut_off_is_refused_or_a_shorter_packet_at_every_cut():
    payload = ok_packet(affected=300, last_id=70_000, info=b"Records: 3", changes=[TIME_ZONE, TRANSACTION])
    fixed = len(ok_packet(affected=300, last_id=70_000))
    whole = {fixed, fixed + 1 + len(b"Records: 3")}  # the flag says that there are changes, but none came
    for cut in range(1, len(payload)):
        if cut in whole:
            assert read_ok(payload[:cut], Visibility.NOTHING).changes == ()
        else:
            with pytest.raises(ProtocolError):
                read_ok(payload[:cut], Visibility.NOTHING)


@pytest.mark.parametrize("change", [(0, b""), (0, b"\x05four"), (5, b""), (5, b"\x08T__")])
def test_a_change_that_will_be_looked_into_is_refused_when_it_is_malformed(change):
    with pytest.raises(ProtocolError):
        read_ok(ok_packet(changes=[change]), Visibility.NOTHING)


@given(st.binary(max_size=60), st.sampled_from(Visibility))
def test_any_bytes_are_read_or_refused(data, visibility):
    try:
        ok = read_ok(b"\x00" + data, visibility)
    except ProtocolError:
        return
    assert transaction_state_of(ok.changes) is None or isinstance(transaction_state_of(ok.changes), bytes)


class TestWriting:
    def test_an_ok_packet_of_our_own(self):
        assert write_ok(2) == b"\x00\x00\x00\x02\x00\x00\x00"
        assert write_ok(0x0103) == b"\x00\x00\x00\x03\x01\x00\x00"

    def test_with_changes_it_is_the_packet_of_a_login_that_named_a_database(self):
        assert write_ok(2, (SCHEMA,)) == b"\x00\x00\x00\x02\x40\x00\x00\x00\x06\x01\x04\x03app"

    @given(changes)
    def test_any_changes_come_back(self, changes):
        ok = read_ok(write_ok(2, tuple(changes)), Visibility.EVERYTHING)
        assert ok.changes == tuple(changes)


class TestTransactionState:
    def test_it_is_the_last_one_that_was_reported(self):
        assert transaction_state_of(()) is None
        assert transaction_state_of((SCHEMA, CHARACTERISTICS)) is None
        assert transaction_state_of((TRANSACTION,)) == b"T___W_S_"
        assert transaction_state_of((TRANSACTION, SCHEMA, (5, b"\x08________"))) == b"________"


class TestLastOfEach:
    def test_later_reports_replace_earlier_ones_on_the_same_subject(self):
        names = (0, b"\x05names\x01a")
        utc = (0, b"\x09time_zone\x03UTC")
        assert last_of_each([TIME_ZONE, SCHEMA, names, TRANSACTION, utc, (1, b"\x04app2")]) == [
            names,
            TRANSACTION,
            utc,
            (1, b"\x04app2"),
        ]

    def test_different_variables_all_stay(self):
        many = [(0, write_string(b"v%d" % number) + b"\x011") for number in range(50)]
        assert last_of_each(many + many) == many
