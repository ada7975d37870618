import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire_packets import scramble as independent
from warmwire.errors import ProtocolError
from warmwire.protocol.auth import CACHING_SHA2, NATIVE, Proof, Step, Verifier, nonce_from, scramble

NONCE, FRESH = b"abcdefghijklmnopqrst", b"0123456789ABCDEFGHIJ"
PASSWORD = "pässword".encode()
SEED = bytes(range(20))
FAST_OK = b"\x01\x03"


def switch_to(plugin, nonce=FRESH):
    return b"\xfe" + plugin + b"\0" + nonce + b"\0"


class TestScramble:
    def test_native_is_sha1_of_the_password_xored_with_sha1_of_nonce_and_double_hash(self):
        once = hashlib.sha1(b"secret").digest()
        mask = hashlib.sha1(NONCE + hashlib.sha1(once).digest()).digest()
        assert scramble(NATIVE, b"secret", NONCE) == bytes(a ^ b for a, b in zip(once, mask, strict=True))

    def test_caching_sha2_is_sha256_of_the_password_xored_with_sha256_of_double_hash_and_nonce(self):
        once = hashlib.sha256(b"secret").digest()
        mask = hashlib.sha256(hashlib.sha256(once).digest() + NONCE).digest()
        assert scramble(CACHING_SHA2, b"secret", NONCE) == bytes(a ^ b for a, b in zip(once, mask, strict=True))

    @pytest.mark.parametrize("plugin", [NATIVE, CACHING_SHA2])
    def test_an_empty_password_has_an_empty_proof(self, plugin):
        assert scramble(plugin, b"", NONCE) == b""

    @given(st.sampled_from([NATIVE, CACHING_SHA2]), st.binary(max_size=80), st.binary(min_size=20, max_size=20))
    def test_any_password_and_nonce_give_what_an_independent_implementation_gives(self, plugin, password, nonce):
        assert scramble(plugin, password, nonce) == independent(plugin, password, nonce)


@given(st.binary(min_size=20, max_size=40))
def test_a_nonce_is_20_printable_bytes(random):
    nonce = nonce_from(random)
    assert len(nonce) == 20
    assert all(33 <= byte <= 126 for byte in nonce)


class TestProof:
    def test_the_login_packet_answers_the_plugin_of_the_greeting(self):
        for plugin in (NATIVE, CACHING_SHA2):
            assert Proof(PASSWORD, False, SEED).first(plugin, NONCE) == (plugin, independent(plugin, PASSWORD, NONCE))

    @pytest.mark.parametrize("plugin", [b"", b"sha256_password", b"unix_socket", b"client_ed25519"])
    def test_an_unknown_plugin_in_the_greeting_gives_way_to_native(self, plugin):
        # It is only the server's default: the account's own follows in an AuthSwitchRequest.
        assert Proof(PASSWORD, False, SEED).first(plugin, NONCE) == (NATIVE, independent(NATIVE, PASSWORD, NONCE))

    def test_only_the_20_bytes_of_the_nonce_count(self):
        assert Proof(PASSWORD, False, SEED).first(NATIVE, NONCE + b"\0") == Proof(PASSWORD, False, SEED).first(NATIVE, NONCE)

    @pytest.mark.parametrize("plugin", [NATIVE, CACHING_SHA2])
    @pytest.mark.parametrize("before", [NATIVE, CACHING_SHA2])
    def test_a_switch_is_answered_over_its_new_nonce(self, plugin, before):
        proof = Proof(PASSWORD, False, SEED)
        proof.first(before, NONCE)
        assert proof.answer(switch_to(plugin)) == independent(plugin, PASSWORD, FRESH)

    @pytest.mark.parametrize("plugin", [b"sha256_password", b"mysql_clear_password", b"client_ed25519", b""])
    def test_a_switch_to_a_plugin_that_is_missing_says_which(self, plugin):
        proof = Proof(PASSWORD, True, SEED)
        proof.first(NATIVE, NONCE)
        with pytest.raises(ProtocolError, match=f"the authentication plugin '{plugin.decode()}', which Warmwire does not have"):
            proof.answer(switch_to(plugin))

    @pytest.mark.parametrize("payload", [b"\xfe", b"\xfemysql_native_password", switch_to(NATIVE)[:-2], switch_to(NATIVE, b"")])
    def test_a_switch_that_is_cut_off_is_refused(self, payload):
        proof = Proof(PASSWORD, False, SEED)
        proof.first(NATIVE, NONCE)
        with pytest.raises(ProtocolError):
            proof.answer(payload)

    def test_the_fast_way_of_caching_sha2_needs_no_answer(self):
        proof = Proof(PASSWORD, False, SEED)
        proof.first(CACHING_SHA2, NONCE)
        assert proof.answer(FAST_OK) is None

    def test_the_full_way_sends_the_password_itself_over_tls(self):
        proof = Proof(PASSWORD, True, SEED)
        proof.first(CACHING_SHA2, NONCE)
        assert proof.answer(b"\x01\x04") == PASSWORD + b"\0"

    def test_the_full_way_asks_for_the_servers_key_in_the_clear(self):
        proof = Proof(PASSWORD, False, SEED)
        proof.first(CACHING_SHA2, NONCE)
        assert proof.answer(b"\x01\x04") == b"\x02"
        with pytest.raises(ProtocolError, match="RSA key cannot be read"):
            proof.answer(b"\x01no key")

    @pytest.mark.parametrize(
        ("plugin", "secure", "payload"),
        [
            (NATIVE, False, FAST_OK),
            (NATIVE, True, b"\x01\x04"),  # to a server that is an impostor the password must not go
            (NATIVE, False, b"\x01key"),
            (CACHING_SHA2, True, b"\x01key"),
            (CACHING_SHA2, False, b"\x02"),
            (CACHING_SHA2, False, b""),
        ],
    )
    def test_anything_else_is_refused(self, plugin, secure, payload):
        proof = Proof(PASSWORD, secure, SEED)
        proof.first(plugin, NONCE)
        with pytest.raises(ProtocolError):
            proof.answer(payload)


class TestVerifier:
    @staticmethod
    def first(password, plugin, response, can_switch=True, fallback=NATIVE):
        return Verifier(password, fallback).first(plugin, response, NONCE, FRESH, can_switch)

    @pytest.mark.parametrize("plugin", [NATIVE, None])
    def test_the_right_password_with_native_is_accepted_at_once(self, plugin):
        assert self.first(PASSWORD, plugin, independent(NATIVE, PASSWORD, NONCE)) == Step((), True)

    def test_the_right_password_with_caching_sha2_is_accepted_with_a_word_before_the_ok(self):
        assert self.first(PASSWORD, CACHING_SHA2, independent(CACHING_SHA2, PASSWORD, NONCE)) == Step((FAST_OK,), True)

    @pytest.mark.parametrize("plugin", [NATIVE, CACHING_SHA2])
    @pytest.mark.parametrize("response", [b"", b"\0", b"x" * 20, b"x" * 32, b"x", PASSWORD])
    def test_anything_but_the_proof_gets_one_more_chance_and_no_third(self, plugin, response):
        verifier = Verifier(PASSWORD, NATIVE)
        assert verifier.first(plugin, response, NONCE, FRESH, True) == Step((switch_to(plugin),), None)
        assert verifier.answer(response) == Step((), False)

    @pytest.mark.parametrize("plugin", [NATIVE, CACHING_SHA2])
    def test_the_second_proof_has_to_be_over_the_second_nonce(self, plugin):
        words = (FAST_OK,) if plugin == CACHING_SHA2 else ()
        for nonce, accepted in ((FRESH, Step(words, True)), (NONCE, Step((), False))):
            verifier = Verifier(PASSWORD, NATIVE)
            verifier.first(plugin, b"", NONCE, FRESH, True)
            assert verifier.answer(independent(plugin, PASSWORD, nonce)) == accepted

    @pytest.mark.parametrize("plugin", [b"sha256_password", b"dummy_fallback_auth", b"mysql_clear_password"])
    @pytest.mark.parametrize("fallback", [NATIVE, CACHING_SHA2])
    def test_a_client_with_another_plugin_is_switched_to_the_one_its_server_prefers(self, plugin, fallback):
        assert self.first(PASSWORD, plugin, b"", fallback=fallback) == Step((switch_to(fallback),), None)

    def test_a_client_that_cannot_switch_is_refused_instead(self):
        assert self.first(PASSWORD, None, b"wrong", can_switch=False) == Step((), False)
        assert self.first(PASSWORD, None, independent(NATIVE, PASSWORD, NONCE), can_switch=False) == Step((), True)

    def test_a_proof_of_one_plugin_is_none_of_the_other(self):
        assert self.first(PASSWORD, NATIVE, independent(CACHING_SHA2, PASSWORD, NONCE)).accepted is None
        assert self.first(PASSWORD, CACHING_SHA2, independent(NATIVE, PASSWORD, NONCE)).accepted is None

    @pytest.mark.parametrize("plugin", [NATIVE, CACHING_SHA2])
    def test_an_empty_password_is_proved_by_nothing_and_by_nothing_else(self, plugin):
        for nothing in (b"", b"\0"):
            assert self.first(b"", plugin, nothing) == Step((), True)
        assert self.first(b"", plugin, independent(plugin, b"x", NONCE)).accepted is None

    @pytest.mark.parametrize(("plugin", "size"), [(NATIVE, 20), (CACHING_SHA2, 32)])
    def test_without_a_local_password_any_proof_of_the_right_form_will_do(self, plugin, size):
        assert self.first(None, plugin, b"x" * size).accepted is True
        assert self.first(None, plugin, b"").accepted is True
        assert self.first(None, plugin, b"x" * (size - 1)).accepted is None

    def test_an_answer_that_nobody_asked_for_is_refused(self):
        with pytest.raises(ProtocolError, match="no AuthSwitchRequest"):
            Verifier(PASSWORD, NATIVE).answer(b"")

    @given(
        st.binary(min_size=1, max_size=20), st.sampled_from([NATIVE, CACHING_SHA2, b"other", None]), st.binary(max_size=40),
        st.binary(max_size=40), st.booleans(),
    )  # fmt: skip
    def test_no_guess_is_accepted(self, password, plugin, response, answer, can_switch):
        verifier = Verifier(password, CACHING_SHA2)
        step = verifier.first(plugin, response, NONCE, FRESH, can_switch)
        if step.accepted is None:
            step = verifier.answer(answer)
        assert step.accepted is False
