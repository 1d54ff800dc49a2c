"""The way of a message with nothing left out: real processes, real HTTP on both sides, a real database."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.application import Application
from tests.support.fake_openai import FakeOpenAI, own_words
from tests.support.fake_zapw import FakeZapw

CUSTOMER = "5511988887777"


@pytest.fixture(scope="module")
def model() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(api_key="fake-model-key") as fake:
        yield fake


@pytest.fixture(scope="module")
def zapw() -> Iterator[FakeZapw]:
    with FakeZapw() as fake:
        fake.add_session("sales", phone="5511999990000")
        yield fake


@pytest.fixture(scope="module")
def application(
    tmp_path_factory: pytest.TempPathFactory, prepared_data: Path, model: FakeOpenAI, zapw: FakeZapw
) -> Iterator[Application]:
    application = Application(
        tmp_path_factory.mktemp("whole path"),
        prepared=prepared_data,
        WHATSAPP_API_URL=zapw.url,
        WHATSAPP_API_KEY=zapw.api_key,
        OPENAI_BASE_URL=model.base_url,
        OPENAI_API_KEY="fake-model-key",
        AGENT_DEBOUNCE_S=0.2,
        AGENT_SWEEP_S=0.2,
    )
    zapw.webhook_url = application.webhook_url
    with application:
        yield application


def test_a_text_comes_in_and_the_answer_goes_out_and_is_read(
    application: Application, model: FakeOpenAI, zapw: FakeZapw
) -> None:
    model.say("Até as 18h.")
    assert zapw.emit_message("Até que horas abre?", phone=CUSTOMER, message_id="3EB0AAAA") == [200]
    (sent,) = zapw.wait_for_sent(1)
    zapw.emit("message.delivered", {"messageId": sent["id"], "status": 3})
    zapw.emit("message.read", {"messageId": sent["id"], "status": 4})

    assert (sent["jid"], sent["text"]) == (f"{CUSTOMER}@s.whatsapp.net", "Até as 18h.")
    asked = model.requests[-1].body["messages"][-1]
    assert (asked["role"], own_words(asked["content"])) == ("user", "Até que horas abre?")
    assert soon(lambda: said_in(application)[-1][1] == "read")
    assert said_in(application) == [
        ("inbound", "handled", "Até que horas abre?", "3EB0AAAA"),
        ("outbound", "read", "Até as 18h.", sent["id"]),
    ]


def said_in(application: Application) -> list[tuple[Any, ...]]:
    return application.rows(
        "SELECT direction, status, text, provider_message_id FROM messaging_message ORDER BY created_at, id"
    )


def soon(is_so: Callable[[], bool], *, timeout_s: float = 10.0) -> bool:
    give_up_at = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.02)
    return True
