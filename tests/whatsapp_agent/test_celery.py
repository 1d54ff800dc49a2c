"""The Celery app: every form of REDIS_URL reaches a real Redis, and a certificate nobody vouches for is refused."""

import datetime
import io
import ipaddress
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.core.management import CommandError, call_command
from kombu import pools

from tests.support.application import free_port
from tests.support.redis_server import require_redis
from whatsapp_agent.celery import broker_url, configuration


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("rediss://:secret@cache.example:6380/2", "rediss://:secret@cache.example:6380/2"),
        ("unix:///run/redis/redis.sock", "redis+socket:///run/redis/redis.sock"),
        ("unix:///run/redis/redis.sock?db=3", "redis+socket:///run/redis/redis.sock?virtual_host=3"),
        ("unix://user:secret@/run/redis.sock", "redis+socket://user:secret@/run/redis.sock"),
        ("unix:///run/with space/redis.sock", "redis+socket:///run/with%20space/redis.sock"),
    ],
)
def test_an_address_of_redis_is_written_as_kombu_reads_it(given, expected):
    assert broker_url(given) == expected


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("tls")
    (directory / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return directory / "cert.pem", directory / "key.pem"


@pytest.fixture(scope="module")
def urls(certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The addresses of one Redis: by a socket file, and by TLS."""
    require_redis()
    directory = tmp_path_factory.mktemp("r")
    cert, key = certificate
    tls_port, socket_file = free_port(), directory / "redis.sock"
    options = ["--port", "0", "--unixsocket", socket_file, "--tls-port", tls_port, "--bind", "127.0.0.1", "--save", ""]
    options += ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no", "--dir", directory]
    with subprocess.Popen(["redis-server", *map(str, options)], stdout=subprocess.DEVNULL) as process:
        give_up_at = time.monotonic() + 60
        while not socket_file.exists():
            assert time.monotonic() < give_up_at
            assert process.poll() is None
            time.sleep(0.02)
        yield {"unix": f"unix://{socket_file}?db=1", "tls": f"rediss://127.0.0.1:{tls_port}/0"}
        process.terminate()


def _publish(url: str) -> None:
    """Publish one task over a connection of its own. Raises kombu's OperationalError."""
    pools.reset()
    app = Celery("trial")
    app.config_from_object(configuration(url))
    app.send_task("agent.tasks.sweep", queue="housekeeping", retry=False)


def _published(url: str) -> int:
    """Return how many tasks wait in the queue that `_publish` uses, by a client that knows nothing of Celery."""
    with redis.Redis.from_url(url) as client:
        return client.llen("whatsapp-agent:housekeeping")


def test_a_task_is_published_by_a_socket_file(urls):
    before = _published(urls["unix"])
    _publish(urls["unix"])
    assert _published(urls["unix"]) == before + 1


def test_a_task_is_published_by_tls_where_the_certificate_is_vouched_for(urls, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    before = _published(urls["tls"])
    _publish(urls["tls"])
    assert _published(urls["tls"]) == before + 1


def test_a_certificate_that_nobody_vouches_for_is_refused(urls, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        _publish(urls["tls"])


def test_a_worker_without_redis_names_the_missing_setting(settings):
    settings.REDIS_URL = ""
    with pytest.raises(CommandError, match="REDIS_URL is empty"):
        call_command("worker", stdout=io.StringIO())
