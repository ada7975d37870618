"""RSA-OAEP encryption with a server's public key: what caching_sha2_password asks for on a connection without TLS.

Only the public operation, on a password that is about to be sent, and only where TLS was switched off on purpose. It is
here because the library for it would bring compiled code for every Python and processor into the layer.
Sources: RFC 8017 §7.1.1 (RSAES-OAEP with SHA-1, MGF1), RFC 5280 (SubjectPublicKeyInfo), MySQL's caching_sha2_password.
"""

import base64
import binascii
from hashlib import sha1

from warmwire.errors import ProtocolError

_HASH = 20
SEED_SIZE = _HASH
"""Random bytes that one encryption needs."""


def encrypt_password(password: bytes, nonce: bytes, pem: bytes, seed: bytes) -> bytes:
    """The password with its NUL, XORed with the nonce, encrypted for the server.

    Args:
        password: in clear, without NUL.
        nonce: the server's 20 bytes.
        pem: the server's public key, PEM.
        seed: SEED_SIZE fresh random bytes.

    Raises:
        ProtocolError: the key cannot be read, or the password is too long for it.
    """
    plain = bytes(byte ^ nonce[i % len(nonce)] for i, byte in enumerate(password + b"\0"))
    modulus, exponent = _read_public_key(pem)
    size = (modulus.bit_length() + 7) // 8
    if len(plain) > size - 2 * _HASH - 2:
        raise ProtocolError("the password is too long for the server's RSA key")
    padding = b"\0" * (size - len(plain) - 2 * _HASH - 2)
    block = sha1(b"").digest() + padding + b"\1" + plain
    masked_block = _xor(block, _mask(seed, len(block)))
    masked_seed = _xor(seed, _mask(masked_block, _HASH))
    message = int.from_bytes(b"\0" + masked_seed + masked_block, "big")
    return pow(message, exponent, modulus).to_bytes(size, "big")


def _mask(seed: bytes, length: int) -> bytes:
    blocks = (sha1(seed + counter.to_bytes(4, "big")).digest() for counter in range(-(-length // _HASH)))
    return b"".join(blocks)[:length]


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _read_public_key(pem: bytes) -> tuple[int, int]:
    """(modulus, exponent) of a PEM SubjectPublicKeyInfo."""
    try:
        body = b"".join(line for line in pem.splitlines() if line and not line.startswith(b"--"))
        outer, _ = _der(base64.b64decode(body, validate=True), 0x30)
        _algorithm, rest = _der(outer, 0x30)
        bits, _ = _der(rest, 0x03)
        key, _ = _der(bits[1:], 0x30)
        modulus, rest = _der(key, 0x02)
        exponent, _ = _der(rest, 0x02)
    except (binascii.Error, IndexError, ProtocolError):
        raise ProtocolError("the server's RSA key cannot be read") from None
    numbers = int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")
    if numbers[0].bit_length() not in range(512, 16385) or not 0 < numbers[1] < 1 << 64:
        raise ProtocolError("the server's RSA key has no usable size")
    return numbers


def _der(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """The contents of the element at the front, and what follows it."""
    if data[0] != tag:
        raise ProtocolError("unexpected DER element")
    length, at = data[1], 2
    if length & 0x80:
        at += length & 0x7F
        length = int.from_bytes(data[2:at], "big")
    if at + length > len(data):
        raise ProtocolError("a DER element is cut off")
    return data[at : at + length], data[at + length :]
