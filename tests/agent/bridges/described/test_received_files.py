"""A received file is gone only where the bridge says so: after any other failure it is asked for again."""

import json
from typing import Any

import pytest

from agent.bridges import ADAPTERS
from agent.bridges.base import BridgeConfig
from agent.bridges.exchange import BridgeError, NotSent, Refused, Response
from tests.support.bridges.recorded_calls import fetch

MEDIA = {"url": "https://lookaside.fbsbx.com/x", "mime_type": "image/jpeg", "file_size": 3, "id": "65463453"}


def failure_of(kind: str, *answers: Response) -> BridgeError:
    """Return what the call for a file raises when the bridge answers so."""
    steps = fetch(ADAPTERS[kind](BridgeConfig()), "sales" if kind == "evolution" else "330011223344556", "65463453")
    next(steps)
    for answer in answers[:-1]:
        steps.send(answer)
    with pytest.raises(BridgeError) as failed:
        steps.send(answers[-1])
    return failed.value


@pytest.mark.parametrize(
    ("status", "body", "error", "code"),
    [
        (404, b"", Refused, "not_found"),
        (410, b"", Refused, "not_found"),
        (200, b"", Refused, "not_found"),
        (429, b"", NotSent, "rate_limited"),
        (400, json.dumps({"error": {"code": 80007, "message": "x"}}).encode(), NotSent, "rate_limited"),
        (500, b"", BridgeError, "bridge_failure"),
        (503, b"<html>", BridgeError, "bridge_failure"),
        (302, b"", BridgeError, "bridge_failure"),
        (401, b"", Refused, "unauthorized"),
    ],
)
def test_metas_host_says_whether_a_file_is_gone_or_only_not_to_be_had_now(
    status: int, body: bytes, error: type[BridgeError], code: str
) -> None:
    failure = failure_of("cloud", Response(200, json.dumps(MEDIA).encode()), Response(status, body))
    assert (type(failure), failure.code) == (error, code)


@pytest.mark.parametrize(
    ("message", "error", "code"),
    [
        (["Message not found"], Refused, "not_found"),
        ("Error: Message not found", Refused, "not_found"),
        (["The message is not of the media type"], Refused, "not_found"),
        (["AxiosError: Request failed with status code 410"], Refused, "not_found"),
        (["Error: Connection Closed"], NotSent, "not_connected"),
        (["AxiosError: Request failed with status code 503"], BridgeError, "bridge_failure"),
        (["Error: Timed Out"], BridgeError, "bridge_failure"),
        ([None], BridgeError, "bridge_failure"),
    ],
)
def test_evolution_says_in_words_whether_a_file_is_gone(message: Any, error: type[BridgeError], code: str) -> None:
    body = {"status": 400, "error": "Bad Request", "response": {"message": message}}
    failure = failure_of("evolution", Response(400, json.dumps(body).encode()))
    assert (type(failure), failure.code) == (error, code)
