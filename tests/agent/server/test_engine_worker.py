"""What becomes cooperative in an engine process although it was loaded before."""

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parents[3]
CALLS = 12
# The order of an engine process: everything is loaded, then it becomes cooperative, then it calls the model.
ASK_AT_ONCE = f"""
import json, sys, django
django.setup()
from agent import llm
from agent.llm.model_server import ModelServer
from agent.server.engine_worker import become_cooperative
become_cooperative()
import gevent
server = ModelServer(base_url=sys.argv[1], api_key="key", timeout_s=20)
calls = [gevent.spawn(server.post, "/chat/completions", {{"n": n}}) for n in range({CALLS})]
gevent.joinall(calls, raise_error=True)
print(json.dumps([call.value for call in calls]))
"""


def certificate_for_localhost(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    no_password = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no_password)
    )
    return folder / "certificate.pem", folder / "key.pem"


@pytest.fixture
def meeting_point(tmp_path) -> Iterator[tuple[str, Path]]:
    """A TLS server that answers its calls only once all of them have come; its URL and its certificate."""
    all_here = threading.Barrier(CALLS)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            all_here.wait(timeout=15)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 50

        def finish_request(self, request, client_address) -> None:  # the handshake belongs into the call's thread
            super().finish_request(context.wrap_socket(request, server_side=True), client_address)

    certificate, key = certificate_for_localhost(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://localhost:{server.server_port}/v1", certificate
    server.shutdown()
    server.server_close()


def test_calls_to_a_model_over_tls_wait_beside_each_other(meeting_point, tmp_path):
    url, certificate = meeting_point
    asked = subprocess.run(
        [sys.executable, "-c", ASK_AT_ONCE, url],
        cwd=ROOT,
        env={
            "DJANGO_SETTINGS_MODULE": "whatsapp_agent.settings",
            "DATA_DIR": str(tmp_path / "data"),
            "SSL_CERT_FILE": str(certificate),
            "PATH": "/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout) == [{"n": n} for n in range(CALLS)]
