"""What operators send beside texts, and how they change what was sent: offered where the bridge can, to operators."""

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from messaging.models import Conversation, Message
from sessions_app.models import Bridge, Membership, WhatsAppSession
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_waha import FakeWaha
from tests.support.messaging.admin import LogIn
from tests.support.messaging.files import OGG, WEBP

PLACE = {"coordinates": "-23.5505, -46.6333", "name": "Our shop", "address": "Rua A, 1"}
CARD = {"name": "Bea", "phone": "+55 11 97777-6666"}


@pytest.fixture(autouse=True)
def waha(conversation: Conversation, settings: Any, tmp_path: Any) -> None:
    settings.MEDIA_ROOT = tmp_path
    Bridge.objects.filter(slug="default").update(kind="waha")


@pytest.fixture
def client(staff_member: User, log_in: LogIn) -> Client:
    return log_in(staff_member)


@pytest.fixture
def answer(conversation: Conversation) -> Message:
    now = timezone.now()
    return conversation.messages.create(
        session=conversation.session, direction="outbound", author="agent", status="delivered", text="We close at six.",
        provider_message_id="3EB0ANSWER", sent_at=now, said_at=now,
    )  # fmt: skip


def send(client: Client, conversation: Conversation, kind: str, **values: Any) -> Any:
    answer = client.post(reverse("inbox-send", args=[conversation.pk, kind]), values)
    conversation.refresh_from_db()
    return answer


def change(client: Client, message: Message, how: str, **values: Any) -> Any:
    route = reverse("inbox-change" if how == "edit" else "inbox-revoke", args=[message.conversation_id])
    return client.post(route, {"row": message.pk, **values})


def shown(client: Client, conversation: Conversation) -> str:
    return client.get(reverse("inbox-conversation", args=[conversation.pk])).content.decode()


def page_version(client: Client, conversation: Conversation) -> str:
    page = client.get(reverse("inbox-conversation", args=[conversation.pk]))
    return str(page.context["conversation_version"])


def test_a_location_is_sent_and_takes_over(conversation: Conversation, client: Client) -> None:
    response = send(client, conversation, "location", **PLACE)
    message = Message.objects.get()
    assert (message.kind, message.status, conversation.control) == ("location", "queued", "human")
    assert message.details["location"] == {
        "latitude": -23.5505, "longitude": -46.6333, "name": "Our shop", "address": "Rua A, 1",
    }  # fmt: skip
    assert "taken over" in response.json()["said"]


@pytest.mark.parametrize("coordinates", ["-23.5505 -46.6333", " -23.5505 ; -46.6333 ", "-23.5505,-46.6333"])
def test_coordinates_are_taken_as_people_write_them(
    conversation: Conversation, client: Client, coordinates: str
) -> None:
    assert send(client, conversation, "location", coordinates=coordinates).status_code == 200


@pytest.mark.parametrize("coordinates", ["", "here", "91, 0", "0, 181", "1" * 50, "-23,5505, -46,6333", "NaN, 0"])
def test_coordinates_of_no_place_are_refused(conversation: Conversation, client: Client, coordinates: str) -> None:
    assert send(client, conversation, "location", coordinates=coordinates).status_code == 400
    assert not Message.objects.exists()


def test_a_contact_card_is_sent_once_by_its_key(conversation: Conversation, client: Client) -> None:
    key = str(uuid4())
    statuses = [send(client, conversation, "card", key=key, **CARD).status_code for _ in range(2)]
    assert statuses == [200, 200]
    assert Message.objects.get().details["contacts"] == [{"name": "Bea", "phone": "+5511977776666"}]


@pytest.mark.parametrize("values", [{"name": "", "phone": CARD["phone"]}, {"name": "Bea", "phone": "12"}])
def test_a_contact_card_needs_a_name_and_a_phone(
    conversation: Conversation, client: Client, values: dict[str, str]
) -> None:
    assert send(client, conversation, "card", **values).status_code == 400


POLL = {"as": "poll", "text": "Which day?", "choices": "Monday\r\n\r\n  Tuesday "}


def test_a_poll_is_sent_with_a_choice_a_line_and_takes_over(conversation: Conversation, client: Client) -> None:
    response = send(client, conversation, "choices", **POLL)
    message = Message.objects.get()
    assert (message.kind, message.text) == ("interactive", "Which day?\n\n1. Monday\n2. Tuesday")
    assert message.details == {"poll": {"name": "Which day?", "options": ["Monday", "Tuesday"], "multiple": False}}
    assert (message.sent_by, conversation.control) == (response.wsgi_request.user, "human")
    assert "taken over" in response.json()["said"]


def test_several_answers_and_lists_can_be_asked_for(conversation: Conversation, client: Client) -> None:
    send(client, conversation, "choices", **POLL, multiple="on")
    send(client, conversation, "choices", **POLL | {"as": "list", "button": "Choose"})
    poll, menu = Message.objects.order_by("created_at")
    assert poll.details["poll"]["multiple"] is True
    assert menu.details["menu"] | {"text": ""} == {
        "text": "", "buttons": [], "rows": [{"title": "Monday"}, {"title": "Tuesday"}], "button": "Choose",
    }  # fmt: skip


def test_a_question_sent_twice_under_a_key_is_sent_once(conversation: Conversation, client: Client) -> None:
    key = str(uuid4())
    assert [send(client, conversation, "choices", key=key, **POLL).status_code for _ in range(2)] == [200, 200]
    assert Message.objects.count() == 1


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"as": "buttons"}, "cannot send buttons"),
        ({"as": ""}, "Choose how it is shown"),
        ({"as": "carousel"}, "Choose how it is shown"),
        ({"text": " "}, "Question: This field may not be blank"),
        ({"text": "/help"}, "A command is not sent"),
        ({"choices": "Monday"}, "Choices, one a line: Ensure this field has at least 2"),
        ({"choices": "Monday\nMonday"}, "has to be another one"),
        ({"choices": f"Monday\n{'x' * 101}"}, f"{'x' * 101}: Ensure"),
        ({"as": "list", "button": ""}, "What opens the list: This field may not be blank"),
        ({"text": "x" * 2000}, "Question: Ensure this field has no more than 255"),
        ({"as": "list", "button": "x" * 21}, "What opens the list: Ensure this field has no more than 20"),
    ],
)
def test_a_question_that_cannot_be_sent_is_refused_with_its_reason(
    conversation: Conversation, client: Client, changed: dict[str, str], reason: str
) -> None:
    answer = send(client, conversation, "choices", **POLL | changed)
    assert answer.status_code in {400, 409}
    assert reason in answer.json()["detail"]
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"text": " "}, "Pergunta: Este campo não pode ficar em branco."),
        ({"text": "x" * 256}, "Pergunta: Certifique-se de que este campo não tenha mais de 255 caracteres."),
        ({"choices": "Monday"}, "Opções, uma por linha: Certifique-se de que este campo tenha pelo menos 2 elementos."),
        ({"choices": "Monday\nMonday"}, "Opções, uma por linha: As opções não podem se repetir."),
        ({"choices": f"Monday\n{'x' * 101}"}, "x: Certifique-se de que este campo não tenha mais de 100 caracteres."),
        ({"as": "list", "choices": "Monday\nMonday", "button": "Ver"}, "Os títulos não podem se repetir."),
        (
            {"as": "list", "choices": "x" * 25, "button": "Ver"},
            "x: Certifique-se de que este campo não tenha mais de 24",
        ),
        ({"as": "list", "button": ""}, "O que abre a lista: Este campo não pode ficar em branco."),
        ({"as": ""}, "Escolha"),
    ],
)
def test_the_reason_why_a_question_is_refused_is_in_the_language_of_the_staff(
    conversation: Conversation, client: Client, staff_member: User, changed: dict[str, str], reason: str
) -> None:
    User.objects.filter(pk=staff_member.pk).update(language="pt-br")
    assert reason in send(client, conversation, "choices", **POLL | changed).json()["detail"]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("location", PLACE | {"name": "x" * 201}),
        ("location", PLACE | {"address": "x" * 201}),
        ("card", CARD | {"name": "x" * 201}),
    ],
)
def test_a_name_that_is_too_long_is_refused_and_never_cut(
    conversation: Conversation, client: Client, kind: str, values: dict[str, str]
) -> None:
    answer = send(client, conversation, kind, **values)
    assert (answer.status_code, "at most 200 characters" in answer.json()["detail"]) == (400, True)
    assert not Message.objects.exists()


def test_no_dialog_cuts_what_is_pasted_into_it(
    conversation: Conversation, client: Client, admin: User, log_in: LogIn, answer: Message
) -> None:
    Bridge.objects.filter(slug="default").update(kind="simulator")  # sends all that there is a dialog for
    page = shown(client, conversation)
    dialogs = re.findall(r'<dialog id="([a-z-]+)"', page)
    assert {"choices-dialog", "location-dialog", "card-dialog", "new-dialog"} <= set(dialogs)
    turn = conversation.turns.create(outcome="answered", started_at=answer.said_at)
    conversation.messages.filter(pk=answer.pk).update(turn=turn)
    why = client.get(reverse("inbox-why", args=[conversation.pk, answer.pk])).content.decode()
    proposal = log_in(admin).post(reverse("inbox-proposal", args=[conversation.pk, answer.pk])).content.decode()
    fields = [re.findall(r"<(?:textarea|input)[^>]*>", html) for html in (page[page.index("<dialog") :], why, proposal)]
    assert all("<textarea" in "".join(each) for each in fields)
    assert not [field for each in fields for field in each if "maxlength" in field]


@pytest.mark.parametrize(
    ("kind", "offered"),
    [("waha", ["list", "poll"]), ("evolution", ["poll"]), ("simulator", ["buttons", "list", "poll"]), ("zapw", [])],
)
def test_only_the_choices_that_the_bridge_can_send_are_offered(
    conversation: Conversation, client: Client, kind: str, offered: list[str]
) -> None:
    Bridge.objects.filter(slug="default").update(kind=kind)
    page = shown(client, conversation)
    assert re.findall(r'<input type="radio" name="as" value="(\w+)"', page) == offered
    assert ("choices-dialog" in page) == bool(offered)


def test_a_reaction_is_sent_and_takes_nothing_over(conversation: Conversation, client: Client, answer: Message) -> None:
    assert send(client, conversation, "reaction", row=answer.pk, emoji="👍").json() == {"said": ""}
    reaction = Message.objects.get(kind="reaction")
    assert reaction.details == {"emoji": "👍", "target_id": "3EB0ANSWER"}
    assert conversation.control == "agent"


@pytest.mark.parametrize("emoji", ["hello", "<b>", "👍 👍"])
def test_a_reaction_that_is_no_emoji_is_refused(
    conversation: Conversation, client: Client, answer: Message, emoji: str
) -> None:
    assert send(client, conversation, "reaction", row=answer.pk, emoji=emoji).status_code == 400


@pytest.mark.parametrize(("kind", "name", "content"), [("voice", "a.ogg", OGG), ("sticker", "a.webp", WEBP)])
def test_a_file_is_sent_as_a_voice_note_or_as_a_sticker(
    conversation: Conversation, client: Client, kind: str, name: str, content: bytes
) -> None:
    file = SimpleUploadedFile(name, content)
    response = client.post(reverse("inbox-reply", args=[conversation.pk]), {"file": file, "as": kind, "text": ""})
    assert response.status_code == 200, response.json()
    assert Message.objects.get().kind == kind


def test_a_text_is_no_voice_note(conversation: Conversation, client: Client) -> None:
    file = SimpleUploadedFile("a.txt", b"hello")
    response = client.post(reverse("inbox-reply", args=[conversation.pk]), {"file": file, "as": "voice", "text": ""})
    assert response.status_code == 400


def test_a_reaction_is_sent_once_by_its_key(conversation: Conversation, client: Client, answer: Message) -> None:
    values = {"key": str(uuid4()), "row": answer.pk, "emoji": "👍"}
    assert [send(client, conversation, "reaction", **values).status_code for _ in range(2)] == [200, 200]
    assert Message.objects.filter(kind="reaction").count() == 1


def test_the_key_of_another_message_sends_nothing(conversation: Conversation, client: Client, answer: Message) -> None:
    response = send(client, conversation, "card", key=str(answer.pk), **CARD)
    assert (response.status_code, response.json()["detail"]) == (409, "This message was sent already.")
    assert Message.objects.get() == answer


def test_an_edit_that_a_colleague_was_faster_with_is_not_overwritten(
    conversation: Conversation, client: Client, answer: Message
) -> None:
    form = client.get(reverse("inbox-edit", args=[conversation.pk, answer.pk])).content.decode()
    (seen,) = re.findall(r'name="seen" value="([^"]*)"', form)
    with FakeWaha() as fake:
        fake.add_session("sales", phone="5511999990000")
        connect_default_bridge("waha", fake)
        assert change(client, answer, "edit", text="We close at five.", seen=seen).status_code == 200
        late = change(client, answer, "edit", text="We close at seven.", seen=seen)
        assert (late.status_code, late.json()["code"]) == (409, "conflict")
        assert list(fake.edited.values()) == ["We close at five."]
        form = client.get(reverse("inbox-edit", args=[conversation.pk, answer.pk])).content.decode()
        (seen,) = re.findall(r'name="seen" value="([^"]*)"', form)
        assert change(client, answer, "edit", text="We close at eight.", seen=seen).status_code == 200


def test_a_queued_text_is_edited_before_it_leaves_and_never_over_a_colleagues_edit(
    conversation: Conversation, client: Client, answer: Message
) -> None:
    Message.objects.update(status="queued", provider_message_id=None, sent_at=None)
    form = client.get(reverse("inbox-edit", args=[conversation.pk, answer.pk])).content.decode()
    assert "only the new text" in form
    (seen,) = re.findall(r'name="seen" value="([^"]*)"', form)
    known = {"open": str(conversation.pk), "seen": page_version(client, conversation)}
    assert change(client, answer, "edit", text="We close at five.", seen=seen).status_code == 200
    assert "seen" in client.get(reverse("inbox-poll"), known).json()  # a colleague's page shows it, too
    page = shown(client, conversation)
    assert ("edited before it was sent" in page, "We close at six." in page) == (True, True)
    assert change(client, answer, "edit", text="We close at seven.", seen=seen).status_code == 409
    assert change(client, answer, "revoke").json()["said"] == "The message was cancelled before it was sent."
    assert [(each.text, each.status) for each in Message.objects.all()] == [("We close at five.", "cancelled")]


def test_deleting_what_may_have_arrived_says_so(client: Client, answer: Message) -> None:
    Message.objects.update(status="queued", provider_message_id=None, sent_at=None, unconfirmed_at=timezone.now())
    assert "may have arrived" in change(client, answer, "revoke").json()["said"]


@pytest.mark.parametrize("text", ["/summarize", " ／draft", "/nonsense at all", "#draft"])
def test_a_command_is_never_sent_as_an_edit(
    conversation: Conversation, client: Client, answer: Message, text: str
) -> None:
    with FakeWaha() as fake:
        fake.add_session("sales", phone="5511999990000")
        connect_default_bridge("waha", fake)
        assert change(client, answer, "edit", text=text).status_code == 400
        assert fake.edited == {}
    answer.refresh_from_db()
    assert answer.text == "We close at six."


@pytest.mark.parametrize("how", ["edit", "revoke"])
def test_a_change_without_a_clear_answer_is_in_the_log(client: Client, answer: Message, how: str) -> None:
    with FakeWaha() as fake:
        fake.add_session("sales", phone="5511999990000")
        connect_default_bridge("waha", fake)
        fake.fail("drop_after", call=how, times=1)
        assert change(client, answer, how, text="We close at five.").status_code == 502
    assert LogEntry.objects.get().change_message == f"Inbox: {how} {answer.pk}."


@pytest.mark.parametrize("changes", [{"revoked_at": timezone.now()}, {"kind": "image"}, {"direction": "inbound"}])
def test_the_text_of_a_message_that_cannot_be_edited_is_not_offered(
    conversation: Conversation, client: Client, answer: Message, changes: dict[str, Any]
) -> None:
    Message.objects.update(**changes)
    response = client.get(reverse("inbox-edit", args=[conversation.pk, answer.pk]))
    assert response.status_code == 409
    assert "We close" not in response.content.decode()


def test_a_message_is_edited_and_then_deleted(conversation: Conversation, client: Client, answer: Message) -> None:
    form = client.get(reverse("inbox-edit", args=[conversation.pk, answer.pk])).content.decode()
    assert "We close at six.</textarea>" in form
    with FakeWaha() as fake:
        fake.add_session("sales", phone="5511999990000")
        connect_default_bridge("waha", fake)
        assert change(client, answer, "edit", text="We close at five.").status_code == 200
        assert change(client, answer, "revoke").status_code == 200
    answer.refresh_from_db()
    assert (answer.text, answer.revoked_at is not None) == ("We close at five.", True)


@pytest.mark.parametrize("kind", ["waha", "zapw"])
def test_only_what_the_bridge_can_send_is_offered(
    conversation: Conversation, client: Client, answer: Message, kind: str
) -> None:
    Bridge.objects.filter(slug="default").update(kind=kind)
    page = shown(client, conversation)
    offered = [name for name in ('data-as="voice"', 'data-as="sticker"', ">React<", ">Edit<", ">Delete<")
               if name in page.partition("<dialog")[0]]  # fmt: skip
    assert len(offered) == (5 if kind == "waha" else 0)
    assert ">Location<" in page.partition("<dialog")[0]


def test_what_is_too_old_is_not_offered_to_be_edited(
    conversation: Conversation, client: Client, answer: Message
) -> None:
    Message.objects.update(sent_at=timezone.now() - timedelta(minutes=16))
    page = shown(client, conversation).partition("<dialog")[0]
    assert (">Edit<" in page, ">Delete<" in page) == (False, True)


@pytest.mark.parametrize("who", ["viewer", "stranger"])
def test_others_can_neither_send_nor_change(
    conversation: Conversation, session: WhatsAppSession, answer: Message, log_in: LogIn, request: Any, who: str
) -> None:
    user = request.getfixturevalue(f"staff_{who}")
    if who == "viewer":
        Membership.objects.create(session=session, user=user)
    client = log_in(user)
    answers = [send(client, conversation, "location", **PLACE), send(client, conversation, "card", **CARD)]
    answers += [send(client, conversation, "reaction", row=answer.pk, emoji="👍")]
    answers += [change(client, answer, "edit", text="x"), change(client, answer, "revoke")]
    answers += [client.get(reverse("inbox-edit", args=[conversation.pk, answer.pk]))]
    assert {response.status_code for response in answers} == {403 if who == "viewer" else 404}
    assert Message.objects.count() == 1


def test_a_message_of_another_conversation_is_not_changed(
    conversation: Conversation, client: Client, answer: Message
) -> None:
    elsewhere = reverse("inbox-revoke", args=[uuid4()])
    assert client.post(elsewhere, {"row": answer.pk}).status_code == 404
    assert client.post(reverse("inbox-revoke", args=[conversation.pk]), {"row": uuid4()}).status_code == 404
