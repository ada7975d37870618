import base64
import contextlib

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from warmwire.errors import ProtocolError
from warmwire.protocol.rsa import SEED_SIZE, encrypt_password

NONCE = b"abcdefghijklmnopqrst"
SEED = bytes(range(SEED_SIZE))
KEYS = {size: rsa.generate_private_key(65537, size) for size in (1024, 2048)}
OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)


def pem_of(key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


def der_of(key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.DER, form)


def pem(der):
    return b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(der) + b"-----END PUBLIC KEY-----\n"


def decrypt(key, secret):
    plain = key.decrypt(secret, OAEP)
    return bytes(byte ^ NONCE[at % len(NONCE)] for at, byte in enumerate(plain))


@pytest.mark.parametrize("size", KEYS)
@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=80), st.binary(min_size=SEED_SIZE, max_size=SEED_SIZE))
def test_what_is_encrypted_here_an_independent_library_decrypts(size, password, seed):
    secret = encrypt_password(password, NONCE, pem_of(KEYS[size]), seed)
    assert len(secret) == size // 8
    assert decrypt(KEYS[size], secret) == password + b"\0"


def test_the_longest_password_for_a_key_and_one_more():
    key = KEYS[1024]
    longest = 128 - 2 * 20 - 2 - 1
    assert decrypt(key, encrypt_password(b"p" * longest, NONCE, pem_of(key), SEED)) == b"p" * longest + b"\0"
    with pytest.raises(ProtocolError, match="the password is too long for the server's RSA key"):
        encrypt_password(b"p" * (longest + 1), NONCE, pem_of(key), SEED)


def test_line_ends_of_either_kind_will_do():
    assert decrypt(KEYS[1024], encrypt_password(b"p", NONCE, pem_of(KEYS[1024]).replace(b"\n", b"\r\n"), SEED)) == b"p\0"


def test_a_key_that_is_cut_off_is_refused_at_every_cut():
    der = der_of(KEYS[1024])
    for cut in range(len(der)):
        with pytest.raises(ProtocolError, match="the server's RSA key cannot be read"):
            encrypt_password(b"p", NONCE, pem(der[:cut]), SEED)


@pytest.mark.parametrize("text", [b"", b"-----BEGIN PUBLIC KEY-----\n", b"not base64!", b"\xff\xfe", b"AAAA", pem(b"\x30\xff")])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(ProtocolError, match="the server's RSA key cannot be read"):
        encrypt_password(b"p", NONCE, text, SEED)


def integer(value):
    data = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return element(0x02, data)


def element(tag, data):
    length = len(data).to_bytes(2, "big")
    return bytes((tag, 0x82)) + length + data


def key_of(modulus, exponent):
    algorithm = element(0x30, b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00")
    return pem(element(0x30, algorithm + element(0x03, b"\0" + element(0x30, integer(modulus) + integer(exponent)))))


def test_the_builder_of_these_tests_builds_keys():
    numbers = KEYS[1024].public_key().public_numbers()
    assert decrypt(KEYS[1024], encrypt_password(b"p", NONCE, key_of(numbers.n, numbers.e), SEED)) == b"p\0"


@pytest.mark.parametrize(
    ("bits", "exponent"), [(0, 3), (1, 3), (511, 3), (16_385, 3), (1024, 0), (1024, 1 << 64), (1024, 1 << 1000)]
)
def test_a_key_that_would_be_no_protection_or_take_for_ever_is_refused(bits, exponent):
    modulus = (1 << bits) - 1
    with pytest.raises(ProtocolError, match="the server's RSA key has no usable size"):
        encrypt_password(b"p", NONCE, key_of(modulus, exponent), SEED)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_key_with_any_bytes_changed_gives_a_secret_or_a_protocol_error(data):
    der = bytearray(der_of(KEYS[1024]))
    for at in data.draw(st.sets(st.integers(0, 40), min_size=1, max_size=3)):
        der[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        assert encrypt_password(b"p", NONCE, pem(bytes(der)), SEED)
