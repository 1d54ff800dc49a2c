"""A TLS server whose certificate ends when a test wants it to."""

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import settings


class TlsServer:
    """A server with a certificate of its own making; it takes connections and says nothing."""

    def __init__(self, *, valid_for: timedelta) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.renew(valid_for=valid_for)

    def start(self) -> "TlsServer":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def renew(self, *, valid_for: timedelta) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        until = datetime.now(UTC) + valid_for
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(until - timedelta(days=365))
            .not_valid_after(until)
            .sign(key, hashes.SHA256())
        )
        encoded = serialization.Encoding.PEM
        private = key.private_bytes(encoded, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path = Path(settings.DATA_DIR) / f"certificate-{self.port}.pem"
        path.write_bytes(private + certificate.public_bytes(encoded))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(path)

    def _serve(self) -> None:
        while True:
            connected, _ = self._listener.accept()
            try:
                with self._context.wrap_socket(connected, server_side=True) as tls:
                    tls.recv(1)
            except OSError:
                continue
