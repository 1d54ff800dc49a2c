"""How requests to a bridge are made, whichever adapter asks for them."""

import ast
import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

import agent.bridges
from agent.bridges.base import BridgeConfig
from agent.bridges.exchange import BridgeError, NotSent, Refused, Request, Response, Steps, Unconfirmed, file_request
from agent.bridges.transport import HttpTransport
from agent.bridges.zapw import ZapwBridge
from tests.support.fake_zapw import FakeZapw

FOLDER = Path(agent.bridges.__file__).parent
DOES_IO = {"httpx", "requests", "urllib3", "socket", "subprocess", "time", "asyncio", "threading", "django"}
MAY_WAIT = {"transport.py": DOES_IO, "simulator.py": {"time", "django"}}  # its files lie in our storage


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_a_module_of_an_adapter_imports_nothing_that_does_io(path: Path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module)

    packages = {name.split(".")[0] for name in imported}
    assert packages & DOES_IO <= MAY_WAIT.get(path.name, set())


@pytest.fixture
def transport(zapw_server: FakeZapw):
    config = BridgeConfig(base_url=zapw_server.url, api_key=zapw_server.api_key, timeout_s=0.5)
    transport = HttpTransport(ZapwBridge(config))
    yield transport
    transport.close()


def collect(*requests: Request) -> Steps[list[Response | BridgeError]]:
    """Make all requests, also after one that failed."""
    results: list[Response | BridgeError] = []
    for request in requests:
        try:
            results.append((yield request))
        except BridgeError as exc:
            results.append(exc)
    return results


def test_steps_may_go_on_after_a_request_that_failed(transport, zapw_server):
    zapw_server.fail("drop_before", call="list", times=1)

    failed, answered = transport.run(collect(Request("GET", "/sessions"), Request("GET", "/sessions")))

    assert isinstance(failed, Unconfirmed)
    assert answered.status == 200


def test_a_response_longer_than_the_request_allows_is_given_up(transport, zapw_server):
    zapw_server.fail("answer", call="list", status=200, body="x" * 2000)

    (refused, taken) = transport.run(
        collect(Request("GET", "/sessions", max_response_bytes=1999), Request("GET", "/sessions"))
    )

    assert (type(refused), refused.code) == (Unconfirmed, "bridge_failure")
    assert len(taken.body) == 2000


def test_a_request_has_its_own_time_out(transport, zapw_server):
    zapw_server.fail("slow", call="list", wait_s=0.8)

    (late, waited_for) = transport.run(
        collect(Request("GET", "/sessions", timeout_s=0.2), Request("GET", "/sessions", timeout_s=20.0))
    )

    assert (type(late), late.code) == (Unconfirmed, "timeout")
    assert waited_for.status == 200


def test_a_redirect_is_an_answer_and_is_not_followed(transport, zapw_server):
    zapw_server.fail("redirect", call="list")

    (response,) = transport.run(collect(Request("GET", "/sessions")))

    assert (response.status, response.headers["location"]) == (302, "http://127.0.0.1:9/")
    assert len(zapw_server.requests) == 1


def test_a_query_and_headers_are_sent(transport, zapw_server):
    transport.run(collect(Request("GET", "/sessions", query={"all": "á&b"}, headers={"X-Test": "1"})))

    (request,) = zapw_server.requests
    assert (request.query, request.headers["x-test"]) == ("all=%C3%A1%26b", "1")


def test_a_file_is_sent_as_a_form(transport, zapw_server):
    request = Request("POST", "/sessions", form={"type": "image/png"}, file=("a.png", b"\x89PNG", "image/png"))

    transport.run(collect(request))

    (received,) = zapw_server.requests
    assert received.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="file"; filename="a.png"' in received.body
    assert b"\x89PNG" in received.body


async def drive(steps: Steps[Any], http: httpx.AsyncClient) -> Any:
    """An asynchronous transport, as short as one can be."""
    try:
        request = next(steps)
        while True:
            try:
                answered = await http.request(request.method, request.path, json=request.json)
            except httpx.HTTPError:
                request = steps.throw(NotSent())
            else:
                request = steps.send(Response(answered.status_code, answered.content, dict(answered.headers)))
    except StopIteration as done:
        return done.value


def test_an_asynchronous_transport_can_drive_the_same_adapter(zapw_server):
    adapter = ZapwBridge(BridgeConfig(base_url=zapw_server.url, api_key=zapw_server.api_key))

    async def send_two() -> list[str]:
        async with httpx.AsyncClient(base_url=adapter.base_url, headers=adapter.request_headers()) as http:
            sends = [
                adapter.send_text(session="sales", address="5511988887777@s.whatsapp.net", text=text)
                for text in ("one", "two")
            ]
            return [sent.provider_message_id for sent in await asyncio.gather(*(drive(each, http) for each in sends))]

    ids = asyncio.run(send_two())

    assert sorted(ids) == sorted(entry["id"] for entry in zapw_server.sent)
    assert {entry["text"] for entry in zapw_server.sent} == {"one", "two"}


# --- files ----------------------------------------------------------------------------------------------------------
def fetch_file(transport: HttpTransport, *, max_bytes: int) -> Any:
    (answer,) = transport.run(collect(file_request("/sessions", max_bytes=max_bytes)))
    return answer


def test_a_file_is_streamed_to_the_disk_and_not_held_in_memory(transport, zapw_server):
    zapw_server.fail("answer", call="list", status=200, body=b"x" * 300_000)

    answer = fetch_file(transport, max_bytes=300_000)

    assert (answer.body, answer.is_empty, answer.open().read()) == (b"", False, b"x" * 300_000)


def test_a_file_larger_than_allowed_is_refused_for_good(transport, zapw_server):
    zapw_server.fail("answer", call="list", status=200, body=b"x" * 300_000)

    answer = fetch_file(transport, max_bytes=299_999)

    assert (type(answer), answer.code) == (Refused, "too_large")


def test_a_failure_instead_of_a_file_is_an_answer_like_any_other(transport, zapw_server):
    zapw_server.fail("answer", call="list", status=404, body=b'{"error": "gone"}')

    answer = fetch_file(transport, max_bytes=1000)

    assert (answer.status, answer.file, answer.is_empty) == (404, None, False)
