"""The whole path of a message: real processes, real HTTP on both sides, a real database."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.support.application import SECRETS, Application
from tests.support.background import becomes_true
from tests.support.fake_openai import FakeOpenAI, own_words
from tests.support.fake_zapw import FakeZapw

CUSTOMER = "5511988887777"
MACHINE, PERSON = "5511977776666", "5511966665555"
QUESTIONS = [
    "Hi",
    "is the blue chair there?",
    "how much",
    "and in red?",
    "do you deliver",
    "ok",
    "two please",
    "thanks",
]


@pytest.fixture(scope="module")
def application(configure: Callable[..., Application]) -> Iterator[Application]:
    with configure(AGENT_DEBOUNCE_S=0.2, AGENT_SWEEP_S=0.2, SEND_GAP_S=0) as application:
        yield application


@pytest.fixture(scope="module")
def api(application: Application) -> Iterator[httpx.Client]:
    """A client of the API that is logged in as the first staff user."""
    with httpx.Client(base_url=f"{application.url}/api/v1/", trust_env=False, timeout=30) as client:
        login = {"username": "admin", "password": SECRETS["ADMIN_PASSWORD"]}
        client.headers["Authorization"] = f"Bearer {client.post('auth/token/', json=login).json()['access']}"
        yield client


def test_a_text_is_answered_and_the_answer_is_delivered_and_read(
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
    assert becomes_true(lambda: messages(application, CUSTOMER)[-1][1] == "read")
    assert messages(application, CUSTOMER) == [
        ("inbound", "handled", "Até que horas abre?", "3EB0AAAA"),
        ("outbound", "read", "Até as 18h.", sent["id"]),
    ]


def test_a_machine_that_answers_every_reply_is_stopped_and_a_person_who_types_fast_is_not(
    api: httpx.Client, zapw: FakeZapw
) -> None:
    def replies(phone: str) -> int:
        return sum(sent["jid"].startswith(phone) for sent in list(zapw.sent))

    def conversation(phone: str) -> dict[str, Any]:
        (found,) = api.get("conversations/", params={"phone": phone}).json()["results"]
        return dict(found)

    def write_until_paused(phone: str, texts: list[str]) -> None:
        """Write each text as becomes_true as the one before it is answered."""
        for number, text in enumerate(texts):
            assert zapw.emit_message(text, phone=phone, message_id=f"3EB0{phone[-4:]}{number:04}") == [200]
            assert becomes_true(lambda: replies(phone) > number or conversation(phone)["control"] == "human")  # noqa: B023
            if replies(phone) <= number:
                return

    write_until_paused(MACHINE, [f"Thank you for your message! We are closed. Place {place}." for place in range(30)])
    write_until_paused(PERSON, QUESTIONS)

    assert 3 <= replies(MACHINE) <= 8
    paused = conversation(MACHINE)
    assert (paused["control"], paused["needs_attention"], paused["attention_reason"]) == ("human", True, "loop")
    assert "same text" in paused["attention_note"]
    events = api.get("events/", params={"types": "conversation.needs_attention"}).json()["results"]
    assert [(event["data"]["conversation"], event["data"]["reason"]) for event in events] == [(paused["id"], "loop")]
    assert replies(PERSON) == len(QUESTIONS)
    assert conversation(PERSON)["control"] == "agent"


def messages(application: Application, phone: str) -> list[tuple[Any, ...]]:
    return application.rows(
        "SELECT direction, status, text, provider_message_id FROM messaging_message"
        " JOIN messaging_conversation conversation ON conversation.id = conversation_id"
        " WHERE conversation.address LIKE %s ORDER BY messaging_message.created_at, messaging_message.id",
        f"{phone}@%",
    )
