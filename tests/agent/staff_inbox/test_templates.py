"""Templates in the inbox: offered once the reply window is closed, and sent once, with what each takes."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from messaging.models import Conversation, Message, MessageTemplate
from sessions_app.models import Bridge, WhatsAppSession
from tests.support.messaging.files import JPEG


@pytest.fixture(autouse=True)
def media_root(settings: Any, tmp_path: Any) -> None:
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def silent(conversation: Conversation) -> Conversation:
    """A conversation on the Cloud API whose contact wrote two days ago."""
    Bridge.objects.update(kind="cloud")
    Conversation.objects.update(address="5511988887777")
    at = timezone.now() - timedelta(days=2)
    values = {"session": conversation.session, "direction": "inbound", "author": "contact", "status": "handled"}
    conversation.messages.create(**values, text="Hi", written_at=at)
    add_template(conversation.session, "ready", placeholders=["1"])
    return Conversation.objects.get()


def add_template(session: WhatsAppSession, name: str, **values: Any) -> MessageTemplate:
    values = {"status": "APPROVED", "language": "en", "body": "Hello {{1}}"} | values
    return MessageTemplate.objects.create(session=session, name=name, synced_at=timezone.now(), **values)


def shown(client: Client, conversation: Conversation) -> str:
    return client.get(reverse("inbox-conversation", args=[conversation.pk])).content.decode()


def send(client: Client, conversation: Conversation, template: MessageTemplate, **values: Any) -> Any:
    path = reverse("inbox-act", args=[conversation.pk, "template"])
    return client.post(path, {"row": str(template.pk), **values})


def outbound() -> list[str]:
    return list(Message.objects.filter(direction="outbound").values_list("text", flat=True))


def test_templates_are_offered_where_the_window_is_closed_and_they_can_be_sent(
    silent: Conversation, staff_member: Any, log_in: Any
) -> None:
    add_template(silent.session, "asleep", status="PAUSED")
    add_template(silent.session, "map", unsupported="its header is of a kind that is not known here.")
    page = shown(log_in(staff_member), silent)
    assert "ready (en)" in page
    assert 'name="body" maxlength="1024" required' in page
    assert ("asleep" in page, "map (en)" in page) == (False, False)


def test_no_template_is_offered_while_anything_may_be_sent(
    silent: Conversation, staff_member: Any, log_in: Any
) -> None:
    Message.objects.update(written_at=timezone.now())
    assert "ready (en)" not in shown(log_in(staff_member), silent)


def test_a_template_is_sent_with_what_was_filled_in_and_takes_over(
    silent: Conversation, staff_member: Any, log_in: Any
) -> None:
    answer = send(log_in(staff_member), silent, MessageTemplate.objects.get(), body="Ana")
    assert (answer.status_code, outbound()) == (200, ["Hello Ana"])
    silent.refresh_from_db()
    assert silent.control == "human"


def test_a_form_that_is_sent_twice_sends_one_message(silent: Conversation, staff_member: Any, log_in: Any) -> None:
    client = log_in(staff_member)
    key = shown(client, silent).partition('name="key" value="')[2].partition('"')[0]
    answers = [send(client, silent, MessageTemplate.objects.get(), body="Ana", key=key) for _ in range(2)]
    assert [answer.json() for answer in answers] == [{"said": "The template is on its way."}] * 2
    assert outbound() == ["Hello Ana"]
    assert f'name="key" value="{key}"' not in shown(client, silent)  # so that it can be sent again later


def test_a_form_that_is_filled_in_otherwise_under_the_same_key_is_refused(
    silent: Conversation, staff_member: Any, admin: Any, log_in: Any
) -> None:
    template = MessageTemplate.objects.get()
    key = shown(log_in(staff_member), silent).partition('name="key" value="')[2].partition('"')[0]
    assert send(log_in(staff_member), silent, template, body="Ana", key=key).status_code == 200
    assert send(log_in(staff_member), silent, template, body="Bea", key=key).status_code == 409
    assert send(log_in(admin), silent, template, body="Ana", key=key).status_code == 409
    assert outbound() == ["Hello Ana"]


def test_a_template_takes_the_file_and_the_parameters_of_its_parts(
    silent: Conversation, staff_member: Any, log_in: Any
) -> None:
    button = {"index": 1, "type": "url", "text": "Track"}
    template = add_template(silent.session, "picture", header="image", body="Hi", buttons=[button])
    client = log_in(staff_member)
    page = shown(client, silent)
    assert ("File of the header" in page, "Button: Track" in page) == (True, True)
    file = SimpleUploadedFile("a.jpg", JPEG, content_type="image/jpeg")
    answer = send(client, silent, template, button="orders/42", file=file)
    message = Message.objects.get(direction="outbound")
    assert answer.status_code == 200, answer.content
    assert message.media.file.read() == JPEG
    assert message.details["template"]["buttons"] == [{"index": 1, "type": "url", "parameter": "orders/42"}]


@pytest.mark.parametrize("values", [{}, {"body": " "}, {"body": ["a", "b"]}])
def test_a_form_that_lacks_something_says_so_and_sends_nothing(
    silent: Conversation, staff_member: Any, log_in: Any, values: Any
) -> None:
    answer = send(log_in(staff_member), silent, MessageTemplate.objects.get(), **values)
    assert answer.status_code == 400
    assert answer.json()["detail"]
    assert outbound() == []


@pytest.mark.parametrize(("person", "status"), [("staff_stranger", 404), ("staff_viewer", 403)])
def test_who_may_not_write_here_sends_no_template(
    silent: Conversation, request: pytest.FixtureRequest, log_in: Any, person: str, status: int
) -> None:
    user = request.getfixturevalue(person)
    if person == "staff_viewer":
        silent.session.members.add(user)
    client = log_in(user)
    assert send(client, silent, MessageTemplate.objects.get(), body="Ana").status_code == status
    assert "ready (en)" not in client.get(reverse("inbox-conversation", args=[silent.pk])).content.decode()
    assert outbound() == []


def test_a_template_of_another_number_is_not_sent(
    silent: Conversation, staff_member: Any, log_in: Any, profile: Any
) -> None:
    other = WhatsAppSession.objects.create(bridge=silent.session.bridge, name="2", agent_profile=profile)
    template = add_template(other, "theirs", placeholders=["1"])
    assert send(log_in(staff_member), silent, template, body="Ana").status_code == 404
    assert outbound() == []
