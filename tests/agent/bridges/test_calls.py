"""How we speak to WAHA, Evolution API and the Cloud API: what is requested, and what each failure means."""

import json
from base64 import b64decode
from typing import Any

import pytest

from agent.bridges.base import Card, MessageRef, OutgoingFile, Place, WebhookTarget
from agent.bridges.events import Kind, Link
from agent.bridges.exchange import BridgeError, NotSent, PaymentNeeded, Refused, Unconfirmed
from agent.bridges.templates import Template
from tests.support.bridges.fake_cloud import NUMBER
from tests.support.bridges.live import LiveBridge
from tests.support.bridges.server import FakeBridge

PEOPLE = {"waha": "5511988887777@c.us", "evolution": "5511988887777@s.whatsapp.net", "cloud": "5511988887777"}
NAMES = {"waha": "sales", "evolution": "sales", "cloud": NUMBER}
QUOTED = MessageRef("3EB0QUOTED", text="Seria o azul?")
GIF = b"GIF89a and the rest"


class Pair:
    """A bridge and the server behind it."""

    def __init__(self, kind: str, request: pytest.FixtureRequest) -> None:
        self.kind = kind
        self.server: FakeBridge = request.getfixturevalue(f"{kind}_server")
        self.bridge: LiveBridge = request.getfixturevalue(kind)
        self.to = {"session": NAMES[kind], "address": PEOPLE[kind]}

    def send_text(self, text: str = "Oi", **more: Any) -> Any:
        return self.bridge.send_text(text=text, **self.to, **more)

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.server.requests[-1].body)


@pytest.fixture(params=["waha", "evolution", "cloud"])
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(request.param, request)


def file(kind: Kind, mime_type: str = "image/jpeg") -> OutgoingFile:
    return OutgoingFile(kind, mime_type, "a.jpg", len(GIF), lambda: GIF)


FAILURES = [
    ("waha", "error_500", Unconfirmed, "bridge_failure"),
    ("waha", "error_500_after", Unconfirmed, "bridge_failure"),
    ("waha", "timelock", Refused, "restricted"),
    ("waha", "capping", Refused, "restricted"),
    ("waha", "invalid", Refused, "invalid"),
    ("waha", "rate_limited", NotSent, "rate_limited"),
    ("evolution", "error_500", Unconfirmed, "bridge_failure"),
    ("evolution", "error_500_after", Unconfirmed, "bridge_failure"),
    ("evolution", "connection_closed", NotSent, "not_connected"),
    ("evolution", "not_on_whatsapp", Refused, "not_on_whatsapp"),
    ("evolution", "invalid", Refused, "invalid"),
    ("evolution", "error_inside", Unconfirmed, "bridge_failure"),
    ("evolution", "rate_limited", NotSent, "rate_limited"),
    ("cloud", "error_500", Unconfirmed, "bridge_failure"),
    ("cloud", "error_500_after", Unconfirmed, "bridge_failure"),
    ("cloud", "token_expired", NotSent, "unauthorized"),
    ("cloud", "pair_rate", NotSent, "rate_limited"),
    ("cloud", "throughput", NotSent, "rate_limited"),
    ("cloud", "invalid", Refused, "invalid"),
    ("cloud", "payment", PaymentNeeded, "restricted"),
    ("cloud", "window_closed", Refused, "window_closed"),
]


@pytest.mark.parametrize(("kind", "outcome", "error", "code"), FAILURES)
def test_each_failure_of_a_send_has_its_meaning(request, kind, outcome, error, code):
    pair = Pair(kind, request)
    pair.server.fail(outcome)

    with pytest.raises(BridgeError) as caught:
        pair.send_text("a secret")

    assert (type(caught.value), caught.value.code) == (error, code)
    assert "secret" not in str(caught.value)
    assert len(pair.server.requests) == 1


@pytest.mark.parametrize("outcome", ["nonsense", "redirect", "drop_before", "drop_after"])
def test_an_answer_without_a_result_leaves_the_send_unconfirmed(pair: Pair, outcome):
    pair.server.fail(outcome)

    with pytest.raises(Unconfirmed):
        pair.send_text()


def test_a_bridge_that_is_down_was_not_asked(pair: Pair):
    pair.server.down()

    with pytest.raises(NotSent):
        pair.send_text()


def test_a_wrong_key_is_not_sent_with_and_final_for_sessions(pair: Pair):
    pair.server.api_key = "another"

    with pytest.raises(NotSent) as sending:
        pair.send_text()
    with pytest.raises(Refused) as asking:
        pair.bridge.session_state(name=NAMES[pair.kind])

    assert (sending.value.code, asking.value.code) == ("unauthorized", "unauthorized")


def test_a_text_is_sent_with_what_it_answers(pair: Pair):
    sent = pair.send_text("Olá", quoted=QUOTED)

    (entry,) = pair.server.sent
    assert (entry["text"], entry["id"]) == ("Olá", sent.provider_message_id)
    quoted = {
        "waha": ("reply_to", "false_5511988887777@c.us_3EB0QUOTED"),
        "evolution": ("quoted", {"key": {"id": "3EB0QUOTED"}, "message": {"conversation": "Seria o azul?"}}),
        "cloud": ("context", {"message_id": "3EB0QUOTED"}),
    }
    name, value = quoted[pair.kind]
    assert entry["body"][name] == value


@pytest.mark.parametrize("engine", ["NOWEB", "WEBJS", "GOWS"])
def test_every_engine_of_waha_gives_whatsapps_own_id(waha: LiveBridge, waha_server: Any, engine):
    waha_server.engine = engine

    sent = waha.send_text(session="sales", address=PEOPLE["waha"], text="Oi")

    assert sent.provider_message_id == waha_server.sent[0]["id"]


@pytest.mark.parametrize(
    ("address", "chat_id"),
    [
        ("5511988887777", "5511988887777@c.us"),
        ("5511988887777@s.whatsapp.net", "5511988887777@c.us"),
        ("123456789012345@lid", "123456789012345@lid"),
        ("120363041234567890@g.us", "120363041234567890@g.us"),
    ],
)
def test_an_address_of_another_bridge_is_sent_to_in_wahas_form(waha: LiveBridge, waha_server: Any, address, chat_id):
    waha.send_text(session="sales", address=address, text="Oi")

    assert waha_server.sent[0]["to"] == chat_id


@pytest.mark.parametrize("kind", ["waha", "evolution", "cloud"])
@pytest.mark.parametrize("address", ["", "status@broadcast", "1@newsletter", "nobody at all@"])
def test_nobody_is_not_written_to(request, kind, address):
    pair = Pair(kind, request)

    with pytest.raises(Refused):
        pair.bridge.send_text(session=NAMES[kind], address=address, text="Oi")
    assert not pair.server.requests


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("+5511988887777", {"recipient_type": "individual", "to": "5511988887777"}),
        ("5511988887777@c.us", {"recipient_type": "individual", "to": "5511988887777"}),
        ("BR.11223344556677889900", {"recipient_type": "individual", "recipient": "BR.11223344556677889900"}),
        ("Y2FwaV9ncm91cDo1NTEx", {"recipient_type": "group", "to": "Y2FwaV9ncm91cDo1NTEx"}),
    ],
)
def test_a_request_to_meta_names_the_recipient(cloud: LiveBridge, cloud_server: Any, address, target):
    cloud.send_text(session=NUMBER, address=address, text="Oi")

    body = cloud_server.sent[0]["body"]
    assert {name: body.get(name) for name in target} == target


def test_every_kind_is_sent(pair: Pair):
    for kind, mime_type in [
        (Kind.IMAGE, "image/jpeg"),
        (Kind.VIDEO, "video/mp4"),
        (Kind.VOICE, "audio/ogg"),
        (Kind.AUDIO, "audio/mpeg"),
        (Kind.DOCUMENT, "application/pdf"),
        (Kind.STICKER, "image/webp"),
    ]:
        pair.bridge.send_media(file=file(kind, mime_type), caption="olha", **pair.to)
    pair.bridge.send_location(place=Place(-23.5, -46.6, name="MASP"), **pair.to)
    pair.bridge.send_contact(card=Card("Bruno", "+5511977776666"), **pair.to)

    types = [entry["type"] for entry in pair.server.sent]
    assert (
        types
        == {
            "waha": [
                "sendImage",
                "sendVideo",
                "sendVoice",
                "sendVoice",
                "sendFile",
                "sendSticker",
                "sendLocation",
                "sendContactVcard",
            ],
            "evolution": [
                "sendMedia",
                "sendMedia",
                "sendWhatsAppAudio",
                "sendMedia",
                "sendMedia",
                "sendSticker",
                "sendLocation",
                "sendContact",
            ],
            "cloud": ["image", "video", "audio", "audio", "document", "sticker", "location", "contacts"],
        }[pair.kind]
    )


def test_an_image_arrives_with_its_bytes_and_caption(pair: Pair):
    pair.bridge.send_media(file=file(Kind.IMAGE), caption="olha", **pair.to)

    body = pair.server.sent[0]["body"]
    match pair.kind:
        case "waha":
            assert b64decode(body["file"]["data"]) == GIF
            assert body["caption"] == "olha"
        case "evolution":
            assert b64decode(body["media"]) == GIF
            assert (body["mediatype"], body["mimetype"], body["caption"]) == ("image", "image/jpeg", "olha")
        case "cloud":
            upload = pair.server.requests[0]
            assert GIF in upload.body
            assert b"image/jpeg" in upload.body
            assert body["image"]["caption"] == "olha"


def test_an_upload_that_fails_has_sent_nothing(cloud: LiveBridge, cloud_server: Any):
    cloud_server.fail("drop_after", call="upload")

    with pytest.raises(NotSent) as caught:
        cloud.send_media(session=NUMBER, address=PEOPLE["cloud"], file=file(Kind.IMAGE))

    assert caught.value.code == "upload_failed"
    assert not cloud_server.sent


def test_a_template_has_its_parameters(cloud: LiveBridge, cloud_server: Any):
    cloud.send_template(
        session=NUMBER, address=PEOPLE["cloud"], template=Template("order_ready", "pt_BR", ["Ana", "7"], ["1", "2"])
    )

    template = cloud_server.sent[0]["body"]["template"]
    assert template["language"] == {"code": "pt_BR"}
    assert [each["text"] for each in template["components"][0]["parameters"]] == ["Ana", "7"]


def test_reactions_typing_and_reading_reach_the_bridge(pair: Pair):
    message = MessageRef("3EB0A")

    pair.bridge.send_reaction(target=message, emoji="👍", **pair.to)
    pair.bridge.show_typing(last=message, **pair.to)
    pair.bridge.mark_read(message=message, **pair.to)

    calls = [request.path.rpartition("/")[2] for request in pair.server.requests]
    assert (
        calls
        == {
            "waha": ["reaction", "startTyping", "sendSeen"],
            "evolution": ["sales", "sales", "sales"],
            "cloud": ["messages", "messages", "messages"],
        }[pair.kind]
    )


# --- received files -----------------------------------------------------------------------------------------------
def fetch(pair: Pair, ref: str, *, max_bytes: int = 1000) -> Any:
    return pair.bridge.fetch_media(ref=ref, message=MessageRef("3A0C"), max_bytes=max_bytes, **pair.to)


REFS = {"waha": "http://localhost:3000/api/files/sales/3A0C.jpeg", "evolution": "3A0C", "cloud": "65463453"}
STORED_AS = {"waha": "/api/files/sales/3A0C.jpeg", "evolution": "3A0C", "cloud": "65463453"}


def test_a_received_file_is_fetched_by_its_reference(pair: Pair):
    pair.server.files[STORED_AS[pair.kind]] = GIF

    fetched = fetch(pair, REFS[pair.kind])

    assert (fetched.content, fetched.mime_type) == (GIF, "image/jpeg")


def test_a_file_that_is_gone_is_refused(pair: Pair):
    with pytest.raises(Refused) as caught:
        fetch(pair, REFS[pair.kind])

    assert caught.value.code == "not_found"


def test_a_file_larger_than_allowed_is_not_stored(pair: Pair):
    pair.server.files[STORED_AS[pair.kind]] = b"x" * 200_000

    with pytest.raises(BridgeError):
        fetch(pair, REFS[pair.kind], max_bytes=1000)


def test_waha_is_asked_again_for_a_file_it_has_deleted(waha: LiveBridge, waha_server: Any):
    waha_server.files["/api/files/sales/again.jpeg"] = GIF

    fetched = waha.fetch_media(
        session="sales", ref=REFS["waha"], address=PEOPLE["waha"], message=MessageRef("3A0C"), max_bytes=1000
    )

    assert fetched.content == GIF
    asked = waha_server.requests[1]
    assert asked.path == "/api/sales/chats/5511988887777%40c.us/messages/false_5511988887777%40c.us_3A0C"
    assert asked.query == "downloadMedia=true"


@pytest.mark.parametrize(
    "ref", ["http://10.0.0.1/api/files/x.jpg", "http://metadata.internal/api/files/x.jpg", "file:///api/files/x.jpg"]
)
def test_waha_is_never_left_for_another_host(waha: LiveBridge, waha_server: Any, ref):
    waha_server.files["/api/files/x.jpg"] = GIF

    assert fetch_waha(waha, ref).content == GIF


@pytest.mark.parametrize("ref", ["http://localhost:3000/api/sessions", "http://localhost/api/files/../sessions"])
def test_no_other_path_of_waha_is_asked_for_a_file(waha: LiveBridge, waha_server: Any, ref):
    with pytest.raises(Refused):
        fetch_waha(waha, ref)

    assert not waha_server.requests


def fetch_waha(waha: LiveBridge, ref: str) -> Any:
    return waha.fetch_media(
        session="sales", ref=ref, address=PEOPLE["waha"], message=MessageRef("3A0C"), max_bytes=1000
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://lookaside.fbsbx.com/x",
        "https://lookaside.fbsbx.com.evil.example/x",
        "https://lookaside.fbsbx.com@evil.example/x",
        "https://lookaside.fbsbx.com:8443/x",
        "http://169.254.169.254/latest",
    ],
)
def test_metas_token_is_sent_to_metas_host_alone(cloud: LiveBridge, cloud_server: Any, url):
    body = json.dumps({"url": url, "mime_type": "image/jpeg", "file_size": 3}).encode()
    cloud_server.files["65463453"] = GIF
    cloud_server.fail("answer", call="media", status=200, body=body)

    with pytest.raises(BridgeError):
        cloud.fetch_media(
            session=NUMBER, ref="65463453", address=PEOPLE["cloud"], message=MessageRef("wamid"), max_bytes=1000
        )
    assert len(cloud_server.requests) == 1


# --- sessions -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["waha", "evolution"])
def test_a_session_is_started_with_our_webhook_and_shows_a_code(request, kind):
    pair = Pair(kind, request)
    target = WebhookTarget("https://agent.example/api/v1/webhooks/default/secret/", signing_key="key")

    pair.bridge.start_session(name="ops", webhook=target)
    state = pair.bridge.session_state(name="ops")

    assert state.status == Link.QR_WAITING
    assert state.qr_png.startswith(b"\x89PNG")
    if kind == "waha":
        (hook,) = pair.server.sessions["ops"]["config"]["webhooks"]
        assert (hook["url"], hook["hmac"]) == (target.url, {"key": "key"})
    else:
        hook = pair.server.webhooks["ops"]
        assert (hook["url"], hook["headers"]) == (target.url, {"X-Webhook-Secret": "key"})


@pytest.mark.parametrize("kind", ["waha", "evolution"])
def test_a_number_is_linked_by_a_pairing_code(request, kind):
    pair = Pair(kind, request)
    pair.bridge.start_session(name="ops")

    assert pair.bridge.request_pairing_code(name="ops", phone="+5511999990000").replace("-", "") == "ABCDEFGH"


def test_a_webhook_that_has_another_secret_is_replaced_and_others_stay(waha: LiveBridge, waha_server: Any):
    others = [{"url": "https://other.example/"}, {"url": "https://agent.example/api/v1/webhooks/default/old/"}]
    waha_server.sessions["sales"]["config"] = {"webhooks": others, "proxy": "x"}

    waha.set_webhook(name="sales", webhook=WebhookTarget("https://agent.example/api/v1/webhooks/default/new/"))

    config = waha_server.sessions["sales"]["config"]
    assert [hook["url"] for hook in config["webhooks"]] == [
        "https://other.example/",
        "https://agent.example/api/v1/webhooks/default/new/",
    ]
    assert config["proxy"] == "x"


def test_a_number_of_the_cloud_api_is_connected_while_meta_reports_it(cloud: LiveBridge, cloud_server: Any):
    target = WebhookTarget("https://agent.example/w/", verify_token="token")

    started = cloud.start_session(name=NUMBER, webhook=target)
    cloud_server.sessions[NUMBER]["status"] = "RESTRICTED"
    restricted = cloud.session_state(name=NUMBER)

    assert (started.status, started.phone, restricted.status) == (Link.CONNECTED, "+5511999990000", Link.DISCONNECTED)
    assert cloud_server.webhooks[NUMBER] == {"override_callback_uri": target.url, "verify_token": "token"}
    assert cloud.session_state(name="1") is None


@pytest.mark.parametrize("name", ["sales", "", "..", "330011223344556/messages"])
def test_what_is_no_phone_number_id_is_no_session_of_the_cloud_api(cloud: LiveBridge, cloud_server: Any, name):
    with pytest.raises(Refused):
        cloud.start_session(name=name)

    assert not cloud_server.requests


@pytest.mark.parametrize("kind", ["waha", "evolution"])
def test_logging_out_and_restarting_reach_the_bridge(request, kind):
    pair = Pair(kind, request)

    pair.bridge.restart_session(name="sales")
    pair.bridge.logout_session(name="sales")

    assert pair.bridge.session_state(name="sales").status != Link.CONNECTED


def test_a_bridge_that_answers_is_healthy(pair: Pair):
    healthy = pair.bridge.health().is_healthy
    pair.server.down()

    assert (healthy, pair.bridge.health().is_healthy) == (True, False)
