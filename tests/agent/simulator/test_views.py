"""The phone simulator's views: access, writing, and what they return."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from agent.turns.turn import take_turn
from messaging import control
from messaging.models import Contact, Conversation, Message, Turn
from sessions_app.models import AgentProfile, Bridge, Membership, WhatsAppSession

LogIn = Callable[[User], Client]
CHAT = "5511988887777@s.whatsapp.net"


@pytest.fixture
def phone(simulator: Bridge, profile: AgentProfile, staff_member: User) -> WhatsAppSession:
    """A simulator session with `staff_member` as a member."""
    session = WhatsAppSession.objects.create(
        bridge=simulator, name="phone", status="connected", phone="+15550001111", agent_profile=profile
    )
    Membership.objects.create(session=session, user=staff_member)
    return session


@pytest.fixture
def chat(phone: WhatsAppSession) -> Conversation:
    contact = Contact.objects.create(session=phone, phone="+5511988887777", name="Ana")
    contact.aliases.create(session=phone, kind="phone", value="+5511988887777")
    return Conversation.objects.create(session=phone, contact=contact, address=CHAT)


def _message(**fields: Any) -> dict[str, Any]:
    return {"event": "message", "id": "ABC", "chat": CHAT, "text": "Hello"} | fields


def _post(client: Client, address: str, body: Any) -> Any:
    return client.post(address, json.dumps(body), content_type="application/json")


def _events(session: WhatsAppSession) -> str:
    return reverse("simulator-events", args=[session.pk])


def _state(conversation: Conversation) -> str:
    return reverse("simulator-conversation", args=[conversation.pk])


# --- access -------------------------------------------------------------------------------------------------------


def test_an_anonymous_request_is_redirected_to_the_login(log_in: LogIn) -> None:
    answer = Client().get("/simulator/")
    assert answer.headers["Location"] == f"{reverse('admin:login')}?next=/simulator/"


def test_a_user_who_is_not_staff_is_refused(stranger: User, log_in: LogIn) -> None:
    client = log_in(stranger)
    assert [client.get(path).status_code for path in ("/simulator/", "/simulator/sessions/")] == [403, 403]


def test_the_page_allows_only_its_own_scripts_and_styles(staff_member: User, log_in: LogIn) -> None:
    answer = log_in(staff_member).get("/simulator/")
    page, policy = answer.content.decode(), answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for inline in ("<style", "onclick=", "style=", "javascript:", "http://", "https://"):
        assert inline not in page
    assert page.count("<script") == 2
    assert page.count('<script type="module" src="') == page.count('<script id="texts" type="application/json">') == 1


@pytest.mark.parametrize("view", ["contacts", "events", "conversation"])
@pytest.mark.parametrize("who", ["nobody", "staff_stranger"])
def test_a_stranger_can_neither_read_nor_write(
    chat: Conversation, request: pytest.FixtureRequest, log_in: LogIn, view: str, who: str
) -> None:
    client = Client() if who == "nobody" else log_in(request.getfixturevalue(who))
    if view == "events":
        answer = _post(client, _events(chat.session), _message())
    else:
        address = _state(chat) if view == "conversation" else reverse("simulator-contacts", args=[chat.session_id])
        answer = client.get(address)
    assert (answer.status_code, Message.objects.count()) == (401 if who == "nobody" else 404, 0)


def test_a_stranger_sees_no_sessions(phone: WhatsAppSession, staff_stranger: User, log_in: LogIn) -> None:
    assert log_in(staff_stranger).get(reverse("simulator-sessions")).json()["sessions"] == []


def test_a_viewer_can_read_and_cannot_write(chat: Conversation, staff_viewer: User, log_in: LogIn) -> None:
    Membership.objects.create(session=chat.session, user=staff_viewer)
    client = log_in(staff_viewer)
    urls = [
        _events(chat.session),
        reverse("simulator-contacts", args=[chat.session_id]),
        reverse("simulator-sessions"),
    ]
    answers = [_post(client, url, _message(name="x", phone="+5511977776666")).status_code for url in urls]
    assert (client.get(_state(chat)).status_code, answers, Message.objects.count()) == (200, [403] * 3, 0)


def test_a_session_of_a_real_bridge_cannot_be_written_to(
    session: WhatsAppSession, conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    client = log_in(staff_member)
    answers = [_post(client, _events(session), _message()), client.get(_state(conversation))]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert not Message.objects.exists()


def test_an_event_cannot_name_another_session(
    phone: WhatsAppSession, simulator: Bridge, staff_member: User, log_in: LogIn
) -> None:
    other = WhatsAppSession.objects.create(bridge=simulator, name="other", agent_profile=phone.agent_profile)
    _post(log_in(staff_member), _events(phone), _message(session=other.name))
    assert Message.objects.get().session == phone


def test_writing_needs_the_csrf_token(phone: WhatsAppSession, staff_member: User, log_in: LogIn) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff_member)
    assert _post(client, _events(phone), _message()).status_code == 403
    assert not Message.objects.exists()


# --- sessions and contacts ----------------------------------------------------------------------------------------


def test_the_creator_of_a_session_becomes_a_member(bridges: None, staff_stranger: User, log_in: LogIn) -> None:
    client = log_in(staff_stranger)
    made = _post(client, reverse("simulator-sessions"), {"name": "main"})
    listed = client.get(reverse("simulator-sessions")).json()["sessions"]
    assert made.status_code == 201
    assert [(one["name"], one["status"]) for one in listed] == [("main", "connected")]


def test_an_existing_session_is_not_created_again(phone: WhatsAppSession, staff_stranger: User, log_in: LogIn) -> None:
    answer = _post(log_in(staff_stranger), reverse("simulator-sessions"), {"name": phone.name})
    assert (answer.status_code, answer.json()["code"]) == (409, "session_exists")
    assert not Membership.objects.filter(user=staff_stranger).exists()


def test_the_name_of_an_ended_session_gives_no_access_to_it(
    chat: Conversation, staff_stranger: User, log_in: LogIn
) -> None:
    WhatsAppSession.objects.filter(pk=chat.session_id).update(ended_at=timezone.now())
    client = log_in(staff_stranger)
    answer = _post(client, reverse("simulator-sessions"), {"name": chat.session.name})
    assert (answer.status_code, client.get(_state(chat)).status_code) == (409, 404)


@pytest.mark.parametrize("name", ["", "two words", "x" * 51, "<b>", 7, None, ["a"], "a/../b"])
def test_a_session_needs_a_valid_name(bridges: None, staff_stranger: User, log_in: LogIn, name: Any) -> None:
    answer = _post(log_in(staff_stranger), reverse("simulator-sessions"), {"name": name})
    assert (answer.status_code, WhatsAppSession.objects.count()) == (400, 0)


@pytest.mark.parametrize(("given", "title", "address_end"), [
    ({"name": "Bea", "phone": "+55 11 97777-6666"}, "Bea", "5511977776666@s.whatsapp.net"),
    ({"name": "", "phone": "+5511977776666"}, "+5511977776666", "5511977776666@s.whatsapp.net"),
    ({"name": "Cleo", "kind": "hidden"}, "Cleo", "@lid"),
    ({"name": "Neighbours", "kind": "group"}, "Neighbours", "@g.us"),
])  # fmt: skip
def test_a_contact_is_created(
    phone: WhatsAppSession, staff_member: User, log_in: LogIn, given: dict[str, str], title: str, address_end: str
) -> None:
    answer = _post(log_in(staff_member), reverse("simulator-contacts", args=[phone.pk]), given)
    made = answer.json()
    assert (answer.status_code, made["title"], made["address"].endswith(address_end)) == (201, title, True)


def test_a_known_phone_is_the_same_contact(chat: Conversation, staff_member: User, log_in: LogIn) -> None:
    address = reverse("simulator-contacts", args=[chat.session_id])
    made = _post(log_in(staff_member), address, {"name": "Ana again", "phone": "+55 11 98888-7777"}).json()
    assert (made["id"], Contact.objects.count()) == (str(chat.pk), 1)


@pytest.mark.parametrize("given", [
    {}, {"phone": "hello"}, {"phone": "+1"}, {"kind": "group"}, {"kind": "nonsense", "name": "x"}, {"name": 1},
    {"name": "x" * 1000, "phone": "+5511977776666"}, {"kind": ["person"]}, [], "text", 7, None,
])  # fmt: skip
def test_an_invalid_contact_is_refused(phone: WhatsAppSession, staff_member: User, log_in: LogIn, given: Any) -> None:
    answer = _post(log_in(staff_member), reverse("simulator-contacts", args=[phone.pk]), given)
    assert (answer.status_code, Contact.objects.count()) == (400, 0)


def test_contacts_are_found_by_name_and_phone(chat: Conversation, staff_member: User, log_in: LogIn) -> None:
    client, address = log_in(staff_member), reverse("simulator-contacts", args=[chat.session_id])
    found = [len(client.get(address, {"q": text}).json()["contacts"]) for text in ("an", "98888", "zoe", "a\0")]
    assert found == [1, 1, 0, 0]


def test_the_contact_of_the_latest_message_is_listed_before_older_contacts_without_one(
    chat: Conversation, staff_member: User, log_in: LogIn
) -> None:
    client, address = log_in(staff_member), reverse("simulator-contacts", args=[chat.session_id])
    _post(client, address, {"name": "Bea", "phone": "+5511977776666"})
    Conversation.objects.filter(pk=chat.pk).update(last_message_at=timezone.now())
    assert [contact["title"] for contact in client.get(address).json()["contacts"]] == ["Ana", "Bea"]


def test_a_new_contact_is_listed_first(chat: Conversation, staff_member: User, log_in: LogIn) -> None:
    client, address = log_in(staff_member), reverse("simulator-contacts", args=[chat.session_id])
    Conversation.objects.filter(pk=chat.pk).update(last_message_at=timezone.now() - timedelta(minutes=1))
    _post(client, address, {"name": "Bea", "phone": "+5511977776666"})
    assert [contact["title"] for contact in client.get(address).json()["contacts"]] == ["Bea", "Ana"]


# --- writing ------------------------------------------------------------------------------------------------------


def test_a_message_is_stored_and_due_for_an_answer(phone: WhatsAppSession, staff_member: User, log_in: LogIn) -> None:
    answer = _post(log_in(staff_member), _events(phone), _message())
    message = Message.objects.get()
    assert answer.json() == {"kept": 1, "ignored": 0, "malformed": 0}
    assert (message.text, message.status, message.conversation.due_at is None) == ("Hello", "received", False)


def test_a_message_sent_twice_is_stored_once(phone: WhatsAppSession, staff_member: User, log_in: LogIn) -> None:
    client = log_in(staff_member)
    for _ in range(2):
        _post(client, _events(phone), _message())
    assert Message.objects.count() == 1


def test_typing_on_the_agent_s_own_phone_takes_over(chat: Conversation, staff_member: User, log_in: LogIn) -> None:
    _post(log_in(staff_member), _events(chat.session), _message(outbound=True))
    chat.refresh_from_db()
    assert chat.control == "human"


@pytest.mark.parametrize("fields", [
    {"kind": "location", "location": {"latitude": 1, "longitude": 2}}, {"kind": "image", "media": {}},
    {"kind": "voice", "media": {}}, {"kind": "contact", "contacts": [{"name": "B"}]}, {"kind": "sticker"},
    {"kind": "reaction", "emoji": "👍", "target_id": "X"}, {"kind": "unknown"}, {"text": ""}, {"text": "😀"},
    {"chat": "120363000000000001@g.us", "sender": CHAT, "chat_name": "Group"}, {"history": True}, {"sent_at": 1000},
])  # fmt: skip
def test_messages_of_every_kind_are_stored_and_shown(
    phone: WhatsAppSession, staff_member: User, log_in: LogIn, fields: dict[str, Any]
) -> None:
    client = log_in(staff_member)
    counts = _post(client, _events(phone), _message(**fields)).json()
    shown = client.get(_state(Conversation.objects.get())).json()
    assert counts["kept"] == 1
    assert [entry["kind"] for entry in shown["entries"]] == [fields.get("kind", "text")]


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"7", b'"text"', b"null", b"[1]", b"[[]]", b'{"event": "nonsense"}', b"{}", b"\xff", b"NaN",
    b"[" * 20_000, b'[{"event": "message"}, 1]', b'{"event": ["message"]}', b'{"event": {}}',
])  # fmt: skip
def test_an_invalid_body_is_refused(phone: WhatsAppSession, staff_member: User, log_in: LogIn, body: bytes) -> None:
    answer = log_in(staff_member).post(_events(phone), body, content_type="application/json")
    assert (answer.status_code, Message.objects.count()) == (400, 0)


def test_a_request_above_a_limit_is_refused(phone: WhatsAppSession, staff_member: User, log_in: LogIn) -> None:
    client = log_in(staff_member)
    answers = [
        _post(client, _events(phone), [_message()] * 51),
        _post(client, _events(phone), _message(text="x" * 2**20)),
    ]
    assert [answer.status_code for answer in answers] == [400, 413]


def test_characters_that_the_database_cannot_store_are_replaced(
    phone: WhatsAppSession, staff_member: User, log_in: LogIn
) -> None:
    answer = _post(log_in(staff_member), _events(phone), _message(text="a\0b\ud800c"))
    assert (answer.status_code, Message.objects.get().text) == (200, "a\ufffdb\ufffdc")


# --- reading ------------------------------------------------------------------------------------------------------


def test_the_conversation_shows_question_answer_and_receipts(
    chat: Conversation, staff_member: User, log_in: LogIn
) -> None:
    client = log_in(staff_member)
    _post(client, _events(chat.session), _message())
    take_turn(chat.pk)
    answer = Message.objects.get(direction="outbound")
    Message.objects.filter(pk=answer.pk).update(status="sent", provider_message_id="sim-1")
    receipts = [{"event": "status", "id": "sim-1", "status": status} for status in ("delivered", "read")]
    _post(client, _events(chat.session), receipts)
    entries = client.get(_state(chat)).json()["entries"]
    assert [(entry["direction"], entry["status"]) for entry in entries] == [
        ("inbound", "handled"),
        ("outbound", "read"),
    ]


def test_an_unchanged_conversation_is_answered_204(chat: Conversation, staff_member: User, log_in: LogIn) -> None:
    client = log_in(staff_member)
    message = _outbound(chat)
    after = client.get(_state(chat)).json()["after"]
    unchanged = client.get(_state(chat), {"after": after})
    Message.objects.filter(pk=message.pk).update(status="delivered")
    changed = client.get(_state(chat), {"after": after})
    assert (unchanged.status_code, unchanged.content, changed.status_code) == (204, b"", 200)


def test_the_activity_is_writing_while_the_lease_is_valid(
    chat: Conversation, staff_member: User, log_in: LogIn
) -> None:
    client = log_in(staff_member)
    seen = []
    for expires_in_s in (-60, 60):
        at = timezone.now() + timedelta(seconds=expires_in_s)
        Conversation.objects.filter(pk=chat.pk).update(lease_expires_at=at)
        seen.append(client.get(_state(chat)).json()["state"]["activity"])
    assert seen == ["idle", "writing"]


def test_the_conversation_shows_takeover_failed_turns_and_unanswered_messages(
    chat: Conversation, staff_member: User, log_in: LogIn
) -> None:
    control.take_over(conversation=chat, by=staff_member, reason="a staff member wrote")
    Turn.objects.create(conversation=chat, outcome="failed", reason="timeout", started_at=timezone.now())
    Message.objects.filter(pk=_outbound(chat, direction="inbound", status="handled").pk).update(unanswered="stale")
    shown = log_in(staff_member).get(_state(chat)).json()
    assert (shown["state"]["control"], shown["state"]["control_reason"]) == ("human", "a staff member wrote")
    assert "Turn failed: timeout" in [entry.get("text") for entry in shown["entries"]]
    assert "too old when it arrived" in [entry.get("unanswered") for entry in shown["entries"]]


def test_the_text_of_a_deleted_message_is_not_sent_to_the_page(
    chat: Conversation, staff_member: User, log_in: LogIn
) -> None:
    _outbound(chat, text="my password", revoked_at=timezone.now())
    assert "my password" not in log_in(staff_member).get(_state(chat)).content.decode()


def test_the_number_of_queries_does_not_depend_on_the_length_of_the_conversation(
    chat: Conversation, staff_member: User, log_in: LogIn
) -> None:
    client = log_in(staff_member)
    few = _count_queries(client, _state(chat))
    for number in range(80):
        quoted = _outbound(chat, sent_by=staff_member)
        _outbound(chat, quoted=quoted, sender=chat.contact, kind="image", direction="inbound", text=str(number))
        Turn.objects.create(conversation=chat, outcome="failed", started_at=timezone.now())
    shown = client.get(_state(chat)).json()
    assert len([entry for entry in shown["entries"] if entry["type"] == "message"]) == 60
    assert _count_queries(client, _state(chat)) == few


def _outbound(conversation: Conversation, **values: Any) -> Message:
    defaults = {"direction": "outbound", "author": "agent", "status": "sent", "text": "Hello."}
    return Message.objects.create(session=conversation.session, conversation=conversation, **(defaults | values))


def _count_queries(client: Client, address: str) -> int:
    client.get(address)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200
    return len(queries)
