"""The whole path of a message over WAHA, Evolution API and the Cloud API, up to the owner who types on the phone."""

import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.application import Application
from tests.support.bridges.fake_cloud import NUMBER, FakeCloud
from tests.support.bridges.fake_evolution import FakeEvolution
from tests.support.bridges.fake_waha import FakeWaha
from tests.support.fake_openai import FakeOpenAI
from tests.support.messaging.documents import image

CUSTOMER = "5511988887777"
OTHER_CUSTOMER = "5511977776666"
KEY = "for-tests-only-signing-key"
READ = {"waha": 3, "evolution": "READ", "cloud": "read"}


def fake_bridge(kind: str) -> Any:
    match kind:
        case "waha":
            return FakeWaha(hmac_key=KEY)
        case "evolution":
            return FakeEvolution(secret=KEY)
    return FakeCloud(app_secret=KEY)


@pytest.fixture(scope="module", params=["waha", "evolution", "cloud"])
def bridge(request: pytest.FixtureRequest) -> Iterator[Any]:
    with fake_bridge(request.param) as fake:
        fake.kind = request.param
        fake.add_session(NUMBER if request.param == "cloud" else "sales", phone="5511999990000")
        yield fake


@pytest.fixture(scope="module")
def application(
    tmp_path_factory: pytest.TempPathFactory, prepared_data: Path, model: FakeOpenAI, bridge: Any
) -> Iterator[Application]:
    application = Application(
        tmp_path_factory.mktemp(f"whole path of {bridge.kind}"),
        prepared=prepared_data,
        WHATSAPP_BRIDGE=bridge.kind,
        WHATSAPP_API_URL=bridge.url,
        WHATSAPP_API_KEY=bridge.api_key,
        WHATSAPP_SIGNING_KEY=KEY,
        OPENAI_BASE_URL=model.base_url,
        OPENAI_API_KEY="fake-model-key",
        AGENT_DEBOUNCE_S=0.2,
        AGENT_SWEEP_S=0.2,
        SEND_GAP_S=0,
    )
    bridge.webhook_url = application.webhook_url
    with application:
        yield application


def test_a_text_is_answered_delivered_and_read_and_the_owner_takes_over_by_typing(
    application: Application, model: FakeOpenAI, bridge: Any
) -> None:
    model.say("Até as 18h.")
    assert bridge.emit_message("Até que horas abre?", phone=CUSTOMER, message_id="3EB0AAAA") == [200]
    (sent,) = bridge.wait_for_sent(1)
    assert soon(lambda: messages(application)[-1][2] == "delivered")
    assert bridge.emit_ack(sent["id"], READ[bridge.kind], phone=CUSTOMER) == [200]

    assert soon(lambda: messages(application)[-1][2] == "read")
    assert messages(application) == [
        ("inbound", "contact", "handled", "Até que horas abre?", "3EB0AAAA"),
        ("outbound", "agent", "read", "Até as 18h.", sent["id"]),
    ]

    assert bridge.emit_typed_on_phone("Já te respondo", phone=CUSTOMER) == [200]
    assert bridge.emit_message("E amanhã?", phone=CUSTOMER) == [200]

    assert application.rows("SELECT control FROM messaging_conversation") == [("human",)]
    assert [each[1:4] for each in messages(application)[2:]] == [
        ("phone", "sent", "Já te respondo"),
        ("contact", "received", "E amanhã?"),
    ]
    time.sleep(1.0)
    assert len(bridge.sent) == 1


def test_an_image_is_fetched_and_shown_to_the_model(application: Application, model: FakeOpenAI, bridge: Any) -> None:
    model.forget()
    model.say("Vermelho.")
    before = len(bridge.sent)

    assert emit_image(bridge, image(3000, 1000), caption="Qual cor?") == [200]
    bridge.wait_for_sent(before + 1)

    content = model.requests[-1].body["messages"][-1]["content"]
    (shown,) = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    assert Image.open(BytesIO(b64decode(shown.partition(",")[2]))).size == (1536, 512)
    assert "[image] Qual cor?" in content[0]["text"]
    media = "SELECT status, mime_type, file LIKE '20%%.jpg', error FROM messaging_media"
    assert application.rows(media) == [("ready", "image/jpeg", True, "")]


def emit_image(bridge: Any, content: bytes, *, caption: str) -> list[int]:
    match bridge.kind:
        case "waha":
            bridge.files["/api/files/sales/1.jpeg"] = content
            media = {"url": "http://localhost:3000/api/files/sales/1.jpeg", "mimetype": "image/jpeg"}
            return bridge.emit_message(caption, phone=OTHER_CUSTOMER, hasMedia=True, media=media)
        case "evolution":
            bridge.files["3EB0IMAGE"] = content
            part = {"imageMessage": {"mimetype": "image/jpeg", "caption": caption, "mediaKey": "a", "directPath": "/a"}}
            return bridge.emit_message("", phone=OTHER_CUSTOMER, message_id="3EB0IMAGE", content=part)
    bridge.files["65463453"] = content
    part = {"id": "65463453", "mime_type": "image/jpeg", "sha256": "", "caption": caption}
    return bridge.emit_message("", phone=OTHER_CUSTOMER, type="image", image=part)


def messages(application: Application) -> list[tuple[Any, ...]]:
    return application.rows(
        "SELECT direction, author, status, text, provider_message_id FROM messaging_message ORDER BY created_at, id"
    )


def soon(is_so: Callable[[], bool], *, timeout_s: float = 60.0) -> bool:
    give_up_at = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.02)
    return True
