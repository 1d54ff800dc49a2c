"""Addresses that strangers name lead out, and never into our own network."""

import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.fake_receiver import Answer, Receiver
from whatsapp_agent.http import outbound as outbound_http
from whatsapp_agent.http.outbound import FetchFailed, PrivateAddress, UnsafeUrl, ask, check_target, check_url, fetch


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def names(monkeypatch: Any) -> dict[str, list[list[str]]]:
    """What names stand for: `{"example.com": [addresses at the first question, at the next, …]}`."""
    known: dict[str, list[list[str]]] = {}
    resolve = socket.getaddrinfo

    def answer(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in known:
            return resolve(host, port, *args, **kwargs)
        addresses = known[host].pop(0) if len(known[host]) > 1 else known[host][0]
        return [entry for address in addresses for entry in resolve(address, port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return known


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "0.0.0.0",  # noqa: S104
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:a9fe:a9fe",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001:0:53aa:64c:0:fbff:f5ff:fffe",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
    ],
)
def test_a_private_address_is_not_public(address):
    assert not outbound_http.is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_an_address_of_the_internet_is_public(address):
    assert outbound_http.is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://0/",
        "http://localhost:8000/",
        "http://LOCALHOST/",
        "https://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
def test_every_spelling_of_a_private_address_is_refused(url):
    with pytest.raises(PrivateAddress):
        check_target(url)
    with pytest.raises(PrivateAddress):
        ask("GET", url, timeout_s=20, max_bytes=10)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "//example.com/",
        "http://",
        "http:///path",
        "http://user:secret@example.com/",
        "http://example.com\\@127.0.0.1/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://[::1",
        "http://exa mple.com/",
        "http://example.com/\r\nHost: other",
        "http://ex\u00e4mple.com/",
        "http://127。0。0。1/",
        "http://example.com/" + "a" * 2000,
    ],
)
def test_an_unusable_url_is_refused(url):
    with pytest.raises(UnsafeUrl):
        check_url(url)


def test_a_host_name_with_a_private_address_is_refused(names):
    names["inside.example.com"] = [["10.0.0.7"]]
    with pytest.raises(PrivateAddress):
        check_target("http://inside.example.com/")


def test_a_host_name_with_one_private_address_among_public_ones_is_refused(names):
    names["mixed.example.com"] = [["93.184.216.34", "127.0.0.1"]]
    with pytest.raises(PrivateAddress):
        ask("GET", "http://mixed.example.com/", timeout_s=20, max_bytes=10)


def test_a_host_name_that_changes_its_address_after_the_check_is_not_followed(names, receiver):
    names["rebinding.example.com"] = [["93.184.216.34"], ["127.0.0.1"]]
    check_target("http://rebinding.example.com/")
    with pytest.raises(PrivateAddress):
        ask("GET", f"http://rebinding.example.com:{receiver.url.rsplit(':')[-1]}/", timeout_s=20, max_bytes=10)
    assert receiver.requests == []


def test_a_host_name_is_resolved_once_and_that_address_is_used(names, receiver):
    port = receiver.url.rsplit(":")[-1]
    names["ours.example.com"] = [["127.0.0.1"], ["203.0.113.1"]]
    answer = ask("GET", f"http://ours.example.com:{port}/", timeout_s=20, max_bytes=10, allow_private=True)
    assert answer.status == 200
    assert receiver.requests[0].headers["Host"] == f"ours.example.com:{port}"


def test_an_unknown_host_name_is_accepted_and_cannot_be_reached():
    check_target("http://nobody.invalid/")
    with pytest.raises(FetchFailed) as failed:
        ask("GET", "http://nobody.invalid/", timeout_s=20, max_bytes=10)
    assert failed.value.code == "unreachable"


def test_a_redirect_is_returned_and_not_followed(receiver):
    receiver.answer = Answer(302, headers={"Location": "/elsewhere"})
    assert ask("POST", receiver.url, content=b"{}", timeout_s=20, max_bytes=10, allow_private=True).status == 302
    assert len(receiver.requests) == 1


def test_a_file_is_fetched_where_redirects_lead(receiver, settings):
    settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True
    receiver.answers = {"/a": Answer(302, headers={"Location": "/b"}), "/b": Answer(body=b"here")}
    assert fetch(f"{receiver.url}/a", max_bytes=10).body == b"here"


def test_a_redirect_into_a_private_network_is_refused(names, receiver, monkeypatch):
    port = receiver.url.rsplit(":")[-1]
    monkeypatch.setattr(outbound_http, "is_public", lambda address: str(address) == "127.0.0.1")  # the outside, here
    receiver.answer = Answer(302, headers={"Location": f"http://127.0.0.2:{port}/secret"})
    with pytest.raises(PrivateAddress):
        fetch(receiver.url, max_bytes=10)
    assert [request.path for request in receiver.requests] == ["/"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(302, headers={"Location": "/"}), "too_many_redirects"),
        (Answer(404), "not_found_there"),
        (Answer(200, body=b"x" * 5000), "too_large"),
        (Answer(delay_s=1.0), "timeout"),
        (Answer(drip_s=0.1), "timeout"),
    ],
)
def test_a_failed_fetch_has_a_reason(receiver, settings, answer, code):
    settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True
    receiver.answer = answer
    with pytest.raises(FetchFailed) as failed:
        fetch(receiver.url, max_bytes=1000, timeout_s=0.5 if code == "timeout" else 20)
    assert failed.value.code == code
