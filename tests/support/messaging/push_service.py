"""A browser that is subscribed to notifications, and the push service that holds them for it: a real HTTP server.

The request is decrypted as RFC 8291 describes, by the browser's own keys.
"""

import base64
import json
import os
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.fake_receiver import Receiver, RecordedRequest

SALT_BYTES, KEY_BYTES = 16, 65


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def derive(secret: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


class PushService:
    """with PushService() as service: service.fields  # what the browser would tell us"""

    def __init__(self) -> None:
        self.receiver = Receiver()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._auth = os.urandom(16)

    @property
    def fields(self) -> dict[str, str]:
        public = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {"endpoint": f"{self.receiver.url}/send/1", "p256dh": encode(public), "auth": encode(self._auth)}

    @property
    def shown(self) -> list[dict[str, Any]]:
        """What the browser is given of each request."""
        return [json.loads(self.decrypt(request)) for request in self.receiver.requests]

    def decrypt(self, request: RecordedRequest) -> bytes:
        body = request.body
        salt, key = body[:SALT_BYTES], body[21 : 21 + KEY_BYTES]
        other = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
        info = b"WebPush: info\0" + decode(self.fields["p256dh"]) + key
        secret = derive(self._key.exchange(ec.ECDH(), other), salt=self._auth, info=info, length=32)
        content_key = derive(secret, salt=salt, info=b"Content-Encoding: aes128gcm\0", length=16)
        nonce = derive(secret, salt=salt, info=b"Content-Encoding: nonce\0", length=12)
        plain = AESGCM(content_key).decrypt(nonce, body[21 + KEY_BYTES :], None)
        return plain.rstrip(b"\0").removesuffix(b"\x02")

    def claims(self, request: RecordedRequest) -> tuple[dict[str, Any], str]:
        """Return what the request's signature states, which is checked, and the public key that it names."""
        scheme, _, values = request.headers["authorization"].partition(" ")
        parts = dict(each.strip().split("=", 1) for each in values.split(","))
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decode(parts["k"]))
        assert scheme == "vapid"
        return jwt.decode(parts["t"], public, algorithms=["ES256"], options={"verify_aud": False}), parts["k"]

    def __enter__(self) -> Self:
        self.receiver.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.receiver.__exit__(*exception)
