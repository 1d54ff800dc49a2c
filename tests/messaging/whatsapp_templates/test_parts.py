"""Templates with a header and with buttons: sent with all that they take, refused where something is missing."""

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from agent.sender import deliver
from messaging.media.files import take
from messaging.models import Contact, Conversation, Message, MessageTemplate
from messaging.whatsapp_templates.service import send_template, sync_templates
from sessions_app.bridges import setup_bridge
from sessions_app.models import Bridge, WhatsAppSession
from tests.conftest import as_user
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_cloud import NUMBER, FakeCloud
from tests.support.fake_receiver import Answer, Receiver
from tests.support.messaging.files import JPEG, PDF
from whatsapp_agent.errors import InvalidInput

ACCOUNT = "220011223344556"
BODY = {"type": "BODY", "text": "Oi {{1}}"}


def template(name: str, *components: dict[str, Any], **more: Any) -> dict[str, Any]:
    values = {"name": name, "language": "pt_BR", "status": "APPROVED", "category": "UTILITY"}
    return values | {"components": [*components, BODY]} | more


def buttons(*each: dict[str, Any]) -> dict[str, Any]:
    return {"type": "BUTTONS", "buttons": list(each)}


LINK = {"type": "URL", "text": "Track", "url": "https://shop.example/{{1}}"}
FIXED = {"type": "URL", "text": "Shop", "url": "https://shop.example/"}
COUPON = {"type": "COPY_CODE", "example": ["25OFF"]}
REPLY = {"type": "QUICK_REPLY", "text": "Stop"}
TEMPLATES = [
    template("titled", {"type": "HEADER", "format": "TEXT", "text": "Order {{1}}"}),
    template("named", {"type": "HEADER", "format": "TEXT", "text": "Order {{ number }}"}),
    template("picture", {"type": "HEADER", "format": "IMAGE"}),
    template("paper", {"type": "HEADER", "format": "DOCUMENT"}),
    template("linked", buttons(REPLY, FIXED, LINK, COUPON)),
    template("code", buttons({"type": "OTP", "text": "Copy"}), category="AUTHENTICATION"),
    template("map", {"type": "HEADER", "format": "LOCATION"}),
    template("flow", buttons({"type": "FLOW", "text": "Open"})),
    template("catalogue", buttons({"type": "CATALOG", "text": "See all"})),
    template("carousel", {"type": "CAROUSEL", "cards": []}),
    template("later", buttons({"type": "NEW_KIND", "text": "Open"})),
]


@pytest.fixture
def fake(settings: Any, tmp_path: Any) -> Any:
    settings.MEDIA_ROOT = tmp_path
    with FakeCloud() as server:
        server.add_session(phone="5511999990000")
        server.templates = {"data": TEMPLATES}
        yield server


@pytest.fixture
def silent(fake: FakeCloud, bridges: None, profile: Any) -> Conversation:
    """A conversation whose contact has never written."""
    bridge = connect_default_bridge("cloud", fake)
    session = WhatsAppSession.objects.create(bridge=bridge, name=NUMBER, status="connected", agent_profile=profile)
    contact = Contact.objects.create(session=session, phone="+5511988887777")
    return Conversation.objects.create(session=session, contact=contact, address="5511988887777")


def send(conversation: Conversation, name: str, **parts: Any) -> Message:
    return send_template(conversation=conversation, name=name, language="pt_BR", parameters=["Ana"], **parts)


def sent_parts(fake: FakeCloud, conversation: Conversation) -> dict[str, Any]:
    """Send what is queued; return the components that Meta was given, by type, without the body's."""
    deliver(conversation.pk)
    (entry,) = fake.sent
    parts: dict[str, Any] = {}
    for part in entry["body"]["template"]["components"]:
        parts.setdefault(part["type"], []).append(part)
    assert parts.pop("body") == [{"type": "body", "parameters": [{"type": "text", "text": "Ana"}]}]
    return parts


def test_the_text_of_a_header_takes_its_parameter(silent: Conversation, fake: FakeCloud) -> None:
    sync_templates(session=silent.session, account=ACCOUNT)
    message = send(silent, "titled", header_parameters=["42"])
    (header,) = sent_parts(fake, silent)["header"]
    assert header["parameters"] == [{"type": "text", "text": "42"}]
    assert message.text == "Order 42\nOi Ana"


def test_a_named_parameter_of_a_header_is_named(silent: Conversation, fake: FakeCloud) -> None:
    sync_templates(session=silent.session, account=ACCOUNT)
    send(silent, "named", header_parameters=["42"])
    (header,) = sent_parts(fake, silent)["header"]
    assert header["parameters"] == [{"type": "text", "text": "42", "parameter_name": "number"}]


@pytest.mark.parametrize(
    ("name", "content", "kind", "filename"),
    [("picture", JPEG, "image", "photo.jpg"), ("paper", PDF, "document", "invoice.pdf")],
)
def test_the_file_of_a_header_is_uploaded_and_named_by_its_id(
    silent: Conversation, fake: FakeCloud, name: str, content: bytes, kind: str, filename: str
) -> None:
    sync_templates(session=silent.session, account=ACCOUNT)
    send(silent, name, file=take(io.BytesIO(content), name=filename, size_bytes=len(content)))
    (header,) = sent_parts(fake, silent)["header"]
    (parameter,) = header["parameters"]
    assert (parameter["type"], parameter[kind]["id"].isdecimal()) == (kind, True)
    assert parameter[kind].get("filename") == (filename if kind == "document" else None)
    assert any(content in request.body for request in fake.requests)
    assert Message.objects.get().status == "sent"


def test_an_upload_that_fails_sends_nothing_and_is_tried_again(silent: Conversation, fake: FakeCloud) -> None:
    sync_templates(session=silent.session, account=ACCOUNT)
    fake.fail("error_500", call="upload", times=1)
    send(silent, "picture", file=take(io.BytesIO(JPEG), name="a.jpg", size_bytes=len(JPEG)))
    deliver(silent.pk)
    assert (fake.sent, Message.objects.get().status) == ([], "queued")
    Message.objects.update(next_try_at=timezone.now())
    deliver(silent.pk)
    assert (len(fake.sent), Message.objects.get().status) == (1, "sent")


def test_buttons_take_their_parameters_at_their_places(silent: Conversation, fake: FakeCloud) -> None:
    sync_templates(session=silent.session, account=ACCOUNT)
    send(silent, "linked", button_parameters=["orders/42", "25OFF"])
    link, coupon = sent_parts(fake, silent)["button"]
    assert (link["sub_type"], link["index"], link["parameters"]) == (
        "url",
        "2",
        [{"type": "text", "text": "orders/42"}],
    )
    assert (coupon["sub_type"], coupon["index"], coupon["parameters"]) == (
        "copy_code",
        "3",
        [{"type": "coupon_code", "coupon_code": "25OFF"}],
    )


@pytest.mark.parametrize(
    ("name", "parts", "why"),
    [
        ("titled", {}, "takes 1 parameters .header.; 0 were given"),
        ("titled", {"header_parameters": ["a", "b"]}, "2 were given"),
        ("linked", {"button_parameters": ["a"]}, "takes 2 parameters .buttons.; 1 were given"),
        ("linked", {"button_parameters": ["a", "b\nc"]}, "one line"),
        ("picture", {}, "takes a file of kind image"),
        ("picture", {"file": "pdf"}, "only as image/jpeg"),
        ("titled", {"header_parameters": ["a"], "file": "pdf"}, "takes no file"),
        ("map", {}, "header is of a kind"),
        ("flow", {}, "opens a form"),
        ("catalogue", {}, "opens a catalogue"),
        ("carousel", {}, "a carousel"),
        ("later", {}, "buttons is of a kind"),
    ],
)
def test_what_meta_would_refuse_is_refused_before(silent: Conversation, name: str, parts: Any, why: str) -> None:
    sync_templates(session=silent.session, account=ACCOUNT)
    if "file" in parts:
        parts = parts | {"file": take(io.BytesIO(PDF), name="a.pdf", size_bytes=len(PDF))}
    with pytest.raises(InvalidInput, match=why):
        send(silent, name, **parts)
    assert not Message.objects.exists()


def test_a_code_is_not_sent_to_someone_without_a_phone_number(silent: Conversation) -> None:
    sync_templates(session=silent.session, account=ACCOUNT)
    Conversation.objects.update(address="BR.1122334455")
    silent.refresh_from_db()
    with pytest.raises(InvalidInput, match="phone numbers only"):
        send(silent, "code", button_parameters=["123456"])


def test_the_api_sends_a_template_with_a_file_and_lists_what_each_takes(
    silent: Conversation, fake: FakeCloud, admin: Any, settings: Any
) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True
    sync_templates(session=silent.session, account=ACCOUNT)
    client = as_user(admin)
    listed = {each["name"]: each for each in client.get("/api/v1/templates/").json()["results"]}
    with Receiver() as outside:
        outside.answer = Answer(body=PDF)
        values = {"name": "paper", "language": "pt_BR", "parameters": ["Ana"], "media_url": f"{outside.url}/bill.pdf"}
        path = f"/api/v1/conversations/{silent.pk}/messages/"
        answer = client.post(path, {"template": values}, format="json")
        lacking = client.post(path, {"template": values | {"name": "titled"}}, format="json")
    deliver(silent.pk)
    assert (answer.status_code, answer.json()["media"]["filename"], len(fake.sent)) == (201, "bill.pdf", 1)
    assert (lacking.status_code, list(lacking.json()["fields"])) == (400, ["template"])
    assert [button["index"] for button in listed["linked"]["buttons"]] == [2, 3]
    assert (listed["titled"]["header"], listed["titled"]["header_placeholders"]) == ("text", ["1"])


def test_setting_a_bridge_up_syncs_the_templates_of_its_numbers(
    silent: Conversation, fake: FakeCloud, settings: Any
) -> None:
    settings.PUBLIC_URL = "https://agent.example"
    lines = setup_bridge(Bridge.objects.get(slug="default"), account=ACCOUNT)
    assert f"{NUMBER}: {len(TEMPLATES)} templates." in lines
    assert MessageTemplate.objects.count() == len(TEMPLATES)


def test_a_sync_that_fails_does_not_undo_the_set_up(silent: Conversation, fake: FakeCloud, settings: Any) -> None:
    settings.PUBLIC_URL = "https://agent.example"
    fake.templates = {"data": None}
    lines = setup_bridge(Bridge.objects.get(slug="default"), account=ACCOUNT)
    assert any("templates were not synced" in line for line in lines)
    assert fake.subscribed == [ACCOUNT]


def test_sync_templates_syncs_the_accounts_that_are_known(
    silent: Conversation, fake: FakeCloud, settings: Any, capsys: Any
) -> None:
    settings.WHATSAPP_BRIDGE, settings.WHATSAPP_API_URL, settings.WHATSAPP_API_KEY = "cloud", fake.url, fake.api_key
    with pytest.raises(CommandError, match="--account"):
        call_command("sync_templates")
    call_command("sync_templates", account=ACCOUNT)
    fake.templates = {"data": TEMPLATES[:2]}
    call_command("sync_templates")
    assert capsys.readouterr().out.splitlines() == [f"{NUMBER}: {len(TEMPLATES)} templates", f"{NUMBER}: 2 templates"]
    assert MessageTemplate.objects.count() == 2
    call_command("sync_templates", json=True)
    assert json.loads(capsys.readouterr().out) == {"accounts": [ACCOUNT], "templates": {NUMBER: 2}}
