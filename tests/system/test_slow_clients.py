"""Slow clients do not delay others. Real processes, real sockets."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import httpx
import pytest

from tests.support.application import SECRETS, Application

CLIENTS = 500
HALF_HEAD = b"POST /api/v1/auth/token/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-"
HALF_BODY = (
    b"POST /api/v1/auth/token/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b'Content-Length: 60\r\n\r\n{"user'
)
HALF_CHUNK = b"POST /api/v1/auth/token/ HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n3c\r\n{"
UNREAD = b"GET /api/schema/ HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n\r\n"  # YAML is slow
UNFINISHED = b"GET /health/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory, prepared_data: Path) -> Iterator[Application]:
    data_dir = tmp_path_factory.mktemp("slow clients")
    with Application(data_dir, prepared=prepared_data, WEB_PROCESSES=1, WEB_THREADS=4) as application:
        yield application


@pytest.fixture(scope="module", autouse=True)
def late_answer(application: Application) -> Iterator["Future[tuple[bytes, float]]"]:
    """What a client that sends half a head gets and after how many seconds, while other tests go on."""

    def wait() -> tuple[bytes, float]:
        started_at = time.monotonic()
        with connect(application, HALF_HEAD) as client:
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        return answer, time.monotonic() - started_at

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(wait)


def connect(application: Application, data: bytes, *, receive_bytes: int = 0) -> socket.socket:
    client = socket.socket()
    if receive_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.settimeout(60)
    client.connect(("127.0.0.1", application.port))
    client.sendall(data)
    return client


def measure_requests(application: Application) -> list[float]:
    """Return the durations in seconds of 20 requests, each on its own connection."""
    times = []
    for _ in range(20):
        started_at = time.monotonic()
        assert httpx.get(f"{application.url}/health/", timeout=60, trust_env=False).status_code == 200
        times.append(time.monotonic() - started_at)
    return times


@pytest.mark.parametrize("data", [b"", HALF_HEAD, HALF_BODY, HALF_CHUNK, UNFINISHED])
def test_500_stalled_clients_do_not_delay_others(application, data):
    def are_delayed() -> bool:
        usual = median(measure_requests(application))
        with ExitStack() as stack:
            for _ in range(CLIENTS):
                stack.enter_context(connect(application, data))
            times = measure_requests(application)
        return median(times) >= usual * 3 + 0.02 or max(times) >= 1.0

    assert not all(are_delayed() for _ in range(3))  # a busy machine delays some requests, the clients would all


def authorization(application: Application) -> str:
    login = {"username": "admin", "password": SECRETS["ADMIN_PASSWORD"]}
    answer = httpx.post(f"{application.url}/api/v1/auth/token/", json=login, trust_env=False)
    return f"Bearer {answer.json()['access']}"


@pytest.mark.parametrize(("megabytes", "status"), [(15, 404), (40, 413)])
def test_a_large_upload_is_accepted_up_to_the_limit(application, megabytes, status):
    file = b"%PDF-1.4\n" + b"x" * int(megabytes * 1024 * 1024)
    answer = httpx.post(
        f"{application.url}/api/v1/messages/",
        data={"session": "00000000-0000-7000-8000-000000000000", "to": "+5511988887777"},
        files={"file": ("offer.pdf", file, "application/pdf")},
        headers={"Authorization": authorization(application)},
        trust_env=False,
        timeout=60,
    )
    assert answer.status_code == status, answer.text
    if status == 413:
        assert answer.json()["code"] == "too_large"
    else:  # read to its end, and there is no such session
        assert list(answer.json()["fields"]) == ["session"]


def test_clients_that_do_not_read_their_answers_do_not_delay_others(application):
    header = f"\r\nAuthorization: {authorization(application)}\r\n\r\n".encode()
    unread = UNREAD.replace(b"\r\n\r\n", header)

    def are_delayed() -> bool:
        usual = median(measure_requests(application))
        with ExitStack() as stack:
            for _ in range(12):
                stack.enter_context(connect(application, unread * 8, receive_bytes=1024))
            time.sleep(3)  # these are answered meanwhile
            return median(measure_requests(application)) >= usual * 3 + 0.5

    assert not all(are_delayed() for _ in range(3))


def test_a_slow_client_that_keeps_sending_is_answered(application):
    body = b'{"username": "admin", "password": "%s"}' % SECRETS["ADMIN_PASSWORD"].encode()
    head = HALF_BODY.split(b"\r\n\r\n")[0].replace(b"60", str(len(body)).encode()) + b"\r\n\r\n"
    with connect(application, b"") as client:
        for byte in head + body:
            client.sendall(bytes([byte]))
            time.sleep(0.002)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_pipelined_requests_are_answered_in_order(application):
    login = b'{"username": "admin", "password": "wrong"}'
    post = (
        b"POST /api/v1/auth/token/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(login)
    )
    get = b"GET /health/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    last = get.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with connect(application, get + post + login + get + last) as client:
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"401", b"200", b"200"]


def test_a_client_that_expects_100_continue_gets_it_once(application):
    body = b'{"username": "admin", "password": "%s"}' % SECRETS["ADMIN_PASSWORD"].encode()
    head = HALF_BODY.split(b"\r\n\r\n")[0].replace(b"60", str(len(body)).encode())
    with connect(application, head + b"\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n") as client:
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_slow_reader_receives_a_large_response_completely(application):
    names = json.loads((application.data_dir / "static" / "staticfiles.json").read_text())["paths"]
    url = f"{application.url}/static/{names['drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js']}"
    whole = httpx.get(url, trust_env=False, headers={"Accept-Encoding": "identity"})
    assert whole.status_code == 200
    assert len(whole.content) > 500_000
    path = url.removeprefix(application.url).encode()
    request = b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with connect(application, request, receive_bytes=4096) as client:
        time.sleep(0.5)
        answer = b"".join(iter(lambda: client.recv(20_000), b""))
    assert answer.partition(b"\r\n\r\n")[2] == whole.content


def test_the_server_reads_what_comes_in_chunks(application):
    login = b'{"username": "admin", "password": "%s"}' % SECRETS["ADMIN_PASSWORD"].encode()
    url = f"{application.url}/api/v1/auth/token/"
    answer = httpx.post(
        url, content=iter([login[:20], login[20:]]), headers={"Content-Type": "application/json"}, trust_env=False
    )
    with httpx.Client(trust_env=False) as client:
        statuses = [
            client.post(url, content=b"x" * 2_000_000, headers={"Content-Type": "application/json"}).status_code,
            client.post(f"{application.url}/api/v1/nowhere/", content=b"x" * 500_000).status_code,
            client.get(f"{application.url}/health/").status_code,
        ]
    assert statuses == [413, 404, 200], "each by the connection of the one before"
    assert (answer.status_code, "access" in answer.json()) == (200, True)


def test_a_request_that_does_not_arrive_in_time_is_answered_408_and_closed(late_answer):
    answer, seconds = late_answer.result(60)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code": "timeout"' in answer
    assert 9 < seconds < 40
