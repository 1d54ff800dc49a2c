"""Connections to bridges and model servers: used again, closed when idle, never shared by two calls at once."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import httpx2
import pytest

from whatsapp_agent.http.connections import quick_transport


class CountingServer(ThreadingHTTPServer):
    """Counts its connections. `/together` is answered when `together` requests are there, `/broken` not to its end."""

    daemon_threads = True
    request_queue_size = 50

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.connections = 0
        self.open_connections = 0
        self.together = threading.Barrier(5)

    def finish_request(self, request, client_address) -> None:
        self.connections += 1
        self.open_connections += 1
        try:
            super().finish_request(request, client_address)
        finally:
            self.open_connections -= 1

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CountingServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/together":
            self.server.together.wait(10)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + (self.path == "/broken")))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.path == "/broken"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[CountingServer]:
    server = CountingServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request):
    return request.param


def client(library, *, keepalive_s: float = 30.0):
    return library.Client(transport=quick_transport(library, keepalive_s=keepalive_s))


def test_a_connection_is_used_again(library, server):
    with client(library) as http:
        assert [http.post(server.url, content=text).text for text in ("one", "two", "three")] == ["one", "two", "three"]
    assert server.connections == 1


def test_calls_at_once_have_connections_of_their_own(library, server):
    with client(library) as http, ThreadPoolExecutor(5) as pool:
        for _ in range(2):
            answers = pool.map(lambda number: http.post(f"{server.url}/together", content=str(number)).text, range(5))
            assert list(answers) == ["0", "1", "2", "3", "4"]
    assert server.connections == 5


def test_a_connection_is_free_once_its_answer_is_read(library, server):
    with client(library) as http:
        with http.stream("POST", server.url, content="x" * 100) as response:
            assert http.post(server.url, content="meanwhile").text == "meanwhile"
            assert response.read() == b"x" * 100
        assert http.post(server.url, content="later").text == "later"
    assert server.connections == 2


def test_a_connection_idle_for_too_long_is_not_used_again(library, server):
    with client(library, keepalive_s=0.05) as http:
        http.post(server.url, content="one")
        time.sleep(0.1)
        http.post(server.url, content="two")
    assert server.connections == 2


def test_connections_that_nobody_needs_any_more_are_closed(library, server):
    with client(library, keepalive_s=0.2) as http, ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: http.post(f"{server.url}/together", content="x"), range(5)))
        assert server.open_connections == 5
        time.sleep(0.3)
        http.post(server.url, content="x")
        give_up_at = time.monotonic() + 60
        while server.open_connections > 1 and time.monotonic() < give_up_at:
            time.sleep(0.01)
        assert server.open_connections == 1


def test_a_broken_answer_is_an_error_and_its_connection_is_not_used_again(library, server):
    with client(library) as http:
        with pytest.raises(library.RemoteProtocolError):
            http.post(f"{server.url}/broken", content="x")
        assert http.post(server.url, content="next").text == "next"
    assert server.connections == 2


def test_an_address_where_nobody_listens_is_a_connection_error(library, server):
    server.shutdown()
    server.server_close()
    with client(library) as http, pytest.raises(library.ConnectError):
        http.post(server.url, content="x")


def test_time_that_runs_out_is_a_timeout(library, server):
    with client(library) as http, pytest.raises(library.ReadTimeout):
        http.post(f"{server.url}/together", content="x", timeout=0.1)
