"""Templates: synchronised from Meta, checked, and sent to whom nothing else may be sent."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from agent.sender import deliver
from messaging.models import Contact, Conversation, Message, MessageTemplate
from messaging.whatsapp_templates.service import send_template, sync_templates
from sessions_app.models import Bridge, Membership, WhatsAppSession
from tests.conftest import as_user
from tests.support.bridges.fake_cloud import NUMBER, FakeCloud
from whatsapp_agent.errors import BridgeFailed, InvalidInput, NotSupportedByBridge

READY = {
    "name": "order_ready",
    "language": "pt_BR",
    "status": "APPROVED",
    "category": "UTILITY",
    "components": [
        {"type": "BODY", "text": "Oi {{1}}, seu pedido {{2}} está pronto, {{1}}."},
        {"type": "FOOTER", "text": "Loja Azul"},
    ],
}
NAMED = READY | {"name": "named", "components": [{"type": "BODY", "text": "Oi {{ customer }}!"}]}
PAUSED = READY | {"name": "paused", "status": "PAUSED"}
PICTURE = READY | {
    "name": "picture",
    "components": [{"type": "HEADER", "format": "IMAGE"}, {"type": "BODY", "text": "Oi"}],
}
LINK = READY | {
    "name": "link",
    "components": [
        {"type": "BODY", "text": "Oi"},
        {"type": "BUTTONS", "buttons": [{"type": "URL", "text": "Ver", "url": "https://x.example/{{1}}"}]},
    ],
}


@pytest.fixture
def fake() -> Any:
    with FakeCloud() as server:
        server.add_session(phone="5511999990000")
        server.templates = {"data": [READY, NAMED, PAUSED, PICTURE, LINK]}
        yield server


@pytest.fixture
def number(fake: FakeCloud, profile: Any) -> WhatsAppSession:
    bridge = Bridge(slug="cloud", kind="cloud", base_url=fake.url, webhook_secret="x", signing_key="x")
    bridge.api_key = fake.api_key
    bridge.save()
    return WhatsAppSession.objects.create(bridge=bridge, name=NUMBER, status="connected", agent_profile=profile)


@pytest.fixture
def silent(number: WhatsAppSession) -> Conversation:
    """A conversation whose contact last wrote two days ago."""
    contact = Contact.objects.create(session=number, phone="+5511988887777")
    conversation = Conversation.objects.create(session=number, contact=contact, address="5511988887777")
    Message.objects.create(
        session=number, conversation=conversation, sender=contact, direction="inbound", author="contact",
        status="handled", text="Oi", written_at=timezone.now() - timedelta(days=2),
    )  # fmt: skip
    return conversation


@pytest.mark.django_db(transaction=True)
def test_a_template_is_sent_with_its_parameters_to_whom_nothing_else_may_be_sent(silent: Conversation, fake: FakeCloud):
    sync_templates(session=silent.session, account="220011223344556")

    message = send_template(conversation=silent, name="order_ready", language="pt_BR", parameters=["Ana {{2}}", "42"])
    deliver(silent.pk)

    message.refresh_from_db()
    assert (message.status, message.text) == ("sent", "Oi Ana {{2}}, seu pedido 42 está pronto, Ana {{2}}.")
    template = fake.sent[0]["body"]["template"]
    assert (template["name"], template["language"]) == ("order_ready", {"code": "pt_BR"})
    assert [each["text"] for each in template["components"][0]["parameters"]] == ["Ana {{2}}", "42"]


@pytest.mark.django_db(transaction=True)
def test_named_placeholders_are_named_in_the_request(silent: Conversation, fake: FakeCloud):
    sync_templates(session=silent.session, account="220011223344556")

    send_template(conversation=silent, name="named", language="pt_BR", parameters=["Ana"])
    deliver(silent.pk)

    (parameter,) = fake.sent[0]["body"]["template"]["components"][0]["parameters"]
    assert parameter == {"type": "text", "text": "Ana", "parameter_name": "customer"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "parameters", "why"),
    [
        ("unknown", [], "no such template"),
        ("order_ready", ["Ana"], "takes 2 parameters .body.; 1 were given"),
        ("order_ready", ["Ana", "1", "2"], "takes 2 parameters .body.; 3 were given"),
        ("order_ready", ["Ana", " "], "one line"),
        ("order_ready", ["Ana", "1\n2"], "one line"),
        ("paused", ["Ana", "1"], "PAUSED"),
        ("picture", [], "takes a file of kind image"),
        ("link", [], "buttons"),
    ],
)
def test_a_template_that_meta_would_refuse_is_refused_before(
    silent: Conversation, name: str, parameters: Any, why: str
):
    sync_templates(session=silent.session, account="220011223344556")

    with pytest.raises(InvalidInput, match=why):
        send_template(conversation=silent, name=name, language="pt_BR", parameters=parameters)

    assert not Message.objects.filter(direction="outbound").exists()


@pytest.mark.django_db
def test_a_sync_forgets_templates_that_are_gone_and_remembers_the_account(number: WhatsAppSession, fake: FakeCloud):
    with pytest.raises(InvalidInput):
        sync_templates(session=number)
    assert len(sync_templates(session=number, account="220011223344556")) == 5
    fake.templates = {"data": [READY | {"status": "PAUSED"}]}

    sync_templates(session=number)

    template = MessageTemplate.objects.get()
    assert (template.name, template.status, template.placeholders) == ("order_ready", "PAUSED", ["1", "2"])


@pytest.mark.django_db
@pytest.mark.parametrize("answer", [{}, {"data": [{"name": "x"}]}, {"data": None}])
def test_an_answer_of_an_unknown_form_changes_nothing(number: WhatsAppSession, fake: FakeCloud, answer: Any):
    sync_templates(session=number, account="220011223344556")
    fake.templates = answer

    with pytest.raises(BridgeFailed):
        sync_templates(session=number)

    assert MessageTemplate.objects.count() == 5


@pytest.mark.django_db
@pytest.mark.parametrize(
    "bad", [{"name": "x"}, {"language": "pt_BR"}, {"name": "x" * 600, "language": "pt_BR"}, {"name": 7, "language": 7}]
)
def test_a_template_that_cannot_be_named_does_not_keep_the_others_away(
    number: WhatsAppSession, fake: FakeCloud, bad: Any
):
    fake.templates = {"data": [bad, READY, bad]}
    (template,) = sync_templates(session=number, account="220011223344556")
    assert template.name == "order_ready"


@pytest.mark.django_db
def test_a_template_whose_parts_cannot_be_read_is_listed_as_one_that_cannot_be_sent(
    number: WhatsAppSession, fake: FakeCloud
):
    fake.templates = {"data": [NAMED, READY | {"components": [{"type": "BODY", "text": {"a": 1}}]}]}
    named, unreadable = sync_templates(session=number, account="220011223344556")
    assert (named.unsupported, unreadable.name, bool(unreadable.unsupported)) == ("", "order_ready", True)


@pytest.mark.django_db
def test_other_bridges_have_no_templates(conversation: Conversation):
    with pytest.raises(NotSupportedByBridge):
        sync_templates(session=conversation.session, account="1")
    with pytest.raises(NotSupportedByBridge):
        send_template(conversation=conversation, name="x", language="en", parameters=[])


@pytest.mark.django_db
def test_templates_are_synchronised_listed_and_sent_by_the_api(silent: Conversation, admin: User):
    client = as_user(admin)
    path = f"/api/v1/conversations/{silent.pk}/messages/"
    template = {"name": "order_ready", "language": "pt_BR", "parameters": ["Ana", "42"]}

    synced = client.post(
        "/api/v1/templates/sync/", {"session": str(silent.session_id), "account": "220011223344556"}, format="json"
    )
    listed = client.get(f"/api/v1/templates/?session={silent.session_id}").json()["results"]
    closed = client.post(path, {"text": "Oi"}, format="json")
    sent = client.post(path, {"template": template}, format="json")
    new = client.post(
        "/api/v1/messages/",
        {"session": str(silent.session_id), "to": "+5521977776666", "template": template},
        format="json",
    )
    both = client.post(path, {"template": template, "text": "Oi"}, format="json")

    assert synced.json() == {"templates": 5}
    assert {each["name"] for each in listed} == {"order_ready", "named", "paused", "picture", "link"}
    assert (closed.status_code, closed.json()["code"]) == (409, "window_closed")
    assert (sent.status_code, sent.json()["status"], new.status_code, both.status_code) == (201, "queued", 201, 400)


@pytest.mark.django_db
def test_a_template_by_api_on_another_bridge_is_a_409(conversation: Conversation, admin: User):
    body = {"template": {"name": "x", "language": "en"}}
    answer = as_user(admin).post(f"/api/v1/conversations/{conversation.pk}/messages/", body, format="json")

    assert (answer.status_code, answer.json()["code"]) == (409, "not_supported")


@pytest.mark.django_db
def test_strangers_see_and_sync_no_templates(number: WhatsAppSession, profile: Any, member: User):
    sync_templates(session=number, account="220011223344556")

    assert as_user(member).get("/api/v1/templates/").json()["results"] == []
    Membership.objects.filter(user=member).delete()
    answer = as_user(member).post("/api/v1/templates/sync/", {"session": str(number.pk)}, format="json")
    assert answer.status_code in {403, 404}
