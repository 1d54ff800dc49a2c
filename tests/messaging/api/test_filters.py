"""What the lists of the API may be filtered by."""

from datetime import timedelta
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.utils import timezone

from messaging.models import Contact, Conversation, Message, Turn
from messaging.serializers import ContactSerializer
from tests.conftest import as_user

V1 = "/api/v1/"


@pytest.fixture
def client(member):
    return as_user(member)


@pytest.fixture
def two(session):
    """Two conversations with a message each, alike in nothing: `(first, second)` messages."""
    now = timezone.now()
    rows = []
    for number, (name, control) in enumerate([("Ana", "agent"), ("Bruno", "human")]):
        contact = Contact.objects.create(
            session=session, name=name, phone=f"+55119888877{number}0", is_group=bool(number), is_blocked=bool(number)
        )
        conversation = Conversation.objects.create(
            session=session,
            contact=contact,
            address=str(number),
            control=control,
            unread_count=number,
            needs_attention=bool(number),
            attention_reason=["loop", "handoff"][number],
            last_message_at=now - timedelta(hours=number),
        )
        turn = Turn.objects.create(
            conversation=conversation,
            outcome=["answered", "failed"][number],
            started_at=now,
            created_at=now - timedelta(hours=number),
        )
        rows.append(
            Message.objects.create(
                session=session,
                conversation=conversation,
                turn=turn,
                direction=["inbound", "outbound"][number],
                author=["contact", "agent"][number],
                kind=["text", "image"][number],
                status=["handled", "failed"][number],
                text=["An apple, please", "100% sure"][number],
                said_at=now - timedelta(hours=number),
            )
        )
    return rows


def found(client, path):
    answer = client.get(V1 + path)
    assert answer.status_code == 200, answer.json()
    return [row["id"] for row in answer.json()["results"]]


def half_an_hour_ago():
    return quote((timezone.now() - timedelta(minutes=30)).isoformat())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("conversation={0.conversation_id}", "conversation={1.conversation_id}"),
        ("contact={0.conversation.contact_id}", "contact={1.conversation.contact_id}"),
        ("turn={0.turn_id}", "turn={1.turn_id}"),
        ("direction=inbound", "direction=outbound"),
        ("author=contact", "author=agent&author=staff"),
        ("kind=text", "kind=image"),
        ("status=handled&status=received", "status=failed"),
        ("since={ago}", "before={ago}"),
        ("search=APPLE", "search=100%25"),
    ],
)
def test_messages_are_filtered(client, two, first, second):
    for wanted, filters in zip(two, (first, second), strict=True):
        assert found(client, "messages/?" + filters.format(*two, ago=half_an_hour_ago())) == [str(wanted.pk)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("contact={0.conversation.contact_id}", "contact={1.conversation.contact_id}"),
        ("control=agent", "control=human&control=muted"),
        ("unread=false", "unread=true"),
        ("needs_attention=false", "needs_attention=true"),
        ("attention_reason=loop", "attention_reason=handoff&attention_reason=clock"),
        ("is_group=false", "is_group=true"),
        ("latest_since={ago}", "latest_before={ago}"),
        ("search=ana", "search=bruno"),
        ("search=7700", "search=7710"),
    ],
)
def test_conversations_are_filtered(client, two, first, second):
    for wanted, filters in zip(two, (first, second), strict=True):
        path = "conversations/?" + filters.format(*two, ago=half_an_hour_ago())
        assert found(client, path) == [str(wanted.conversation_id)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("conversation={0.conversation_id}", "conversation={1.conversation_id}"),
        ("contact={0.conversation.contact_id}", "contact={1.conversation.contact_id}"),
        ("outcome=answered", "outcome=failed"),
        ("since={ago}", "before={ago}"),
    ],
)
def test_turns_are_filtered(client, two, first, second):
    for wanted, filters in zip(two, (first, second), strict=True):
        assert found(client, "turns/?" + filters.format(*two, ago=half_an_hour_ago())) == [str(wanted.turn_id)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("is_group=false", "is_group=true"),
        ("is_blocked=false", "is_blocked=true"),
        ("search=an", "search=BRU"),
        ("phone=%2B551198888770{0.x}0", "phone=%2B55119888877{1.x}0"),
    ],
)
def test_contacts_are_filtered(client, two, first, second):
    first, second = first.replace("0{0.x}", "0"), second.replace("{1.x}", "1")
    for wanted, filters in zip(two, (first, second), strict=True):
        assert found(client, "contacts/?" + filters) == [str(wanted.conversation.contact_id)]


def test_everything_is_filtered_by_session(client, session, two):
    for area in ("messages", "conversations", "turns", "contacts"):
        assert len(found(client, f"{area}/?session={session.pk}")) == 2
        assert found(client, f"{area}/?session={uuid4()}") == []


def test_the_next_page_is_filtered_as_the_first_one(client, two):
    Message.objects.update(kind="text")
    answer = client.get(f"{V1}messages/?kind=text&page_size=1").json()
    assert "kind=text" in answer["next"]
    assert [row["id"] for row in client.get(answer["next"]).json()["results"]] == [str(two[1].pk)]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("messages/?converstion=1", "converstion"),
        ("messages/?conversation=nonsense", "conversation"),
        ("messages/?conversation=%00", "conversation"),
        ("messages/?direction=sideways", "direction"),
        ("messages/?status=failed&status=nonsense", "status"),
        ("messages/?since=yesterday", "since"),
        ("messages/?since=2026-13-45T00:00:00Z", "since"),
        ("messages/?since=99999-01-01T00:00:00Z", "since"),
        ("messages/?search=a%00b", "search"),
        ("conversations/?unread=maybe", "unread"),
        ("conversations/?unread=1", "unread"),
        ("conversations/?control=robot", "control"),
        ("sessions/?is_ended=yes", "is_ended"),
        ("turns/?outcome=nonsense", "outcome"),
        ("turns/?since=", "since"),
        ("messages/?conversation=", "conversation"),
        ("messages/?search=" + "x" * 501, "search"),
        ("messages/?search=x" + "%20" * 500, "search"),
        ("messages/?cursor=", "cursor"),
        ("messages/?cursor=" + "x" * 201, "cursor"),
        ("contacts/?phone=", "phone"),
        ("contacts/?is_blocked=", "is_blocked"),
        ("sessions/?name=", "name"),
        ("commands/runs/?name=", "name"),
        ("events/?session=", "session"),
        ("events/?limit=", "limit"),
        ("events/?types=", "types"),
    ],
)
def test_an_invalid_filter_is_refused_by_name(client, two, path, field):
    answer = client.get(V1 + path)
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])


@pytest.mark.parametrize(
    "value", ["0001-01-01T00:00:00%2B23:59", "9999-12-31T23:59:59-23:59", "2026-01-01", "2026-01-01T00:00"]
)
def test_the_ends_of_time_are_times(client, two, value):
    assert client.get(f"{V1}messages/?since={value}").status_code in {200, 400}


# --- contacts -----------------------------------------------------------------------------------------------------


def test_a_contact_is_shown_with_its_aliases_and_conversation(client, conversation):
    row = client.get(f"{V1}contacts/{conversation.contact_id}/").json()
    assert row["aliases"] == [{"kind": "phone", "value": "+5511988887777"}]
    assert row["conversation"] == str(conversation.pk)


def test_a_change_of_a_contact_does_not_undo_what_the_bridge_reported_meanwhile(conversation):
    contact = conversation.contact
    change = ContactSerializer(contact, data={"is_blocked": True}, partial=True)
    Contact.objects.update(phone="+5511900000000")
    change.is_valid(raise_exception=True)
    change.save()
    contact.refresh_from_db()
    assert (contact.phone, contact.is_blocked) == ("+5511900000000", True)


def test_a_contact_is_blocked_and_renamed(client, conversation):
    change = {"is_blocked": True, "name": "Ana Souza"}
    answer = client.patch(f"{V1}contacts/{conversation.contact_id}/", change, format="json")
    assert (answer.status_code, answer.json()["name"]) == (200, "Ana Souza")
    assert Contact.objects.get().is_blocked


@pytest.mark.parametrize("change", [{"phone": "+1"}, {"is_blocked": "true"}, {"name": "x" * 201}, {"name": "\x00"}])
def test_a_contact_is_not_changed_into_nonsense(client, conversation, change):
    answer = client.patch(f"{V1}contacts/{conversation.contact_id}/", change, format="json")
    assert (answer.status_code, list(answer.json()["fields"])) == (400, list(change))


def test_the_contact_of_others_is_not_there(stranger, conversation):
    client = as_user(stranger)
    assert client.get(f"{V1}contacts/{conversation.contact_id}/").status_code == 404
    assert client.patch(f"{V1}contacts/{conversation.contact_id}/", {"name": "x"}, format="json").status_code == 404
    assert client.get(f"{V1}contacts/").json()["results"] == []


@pytest.mark.parametrize("area", ["contacts/", "conversations/", "messages/", "turns/", "sessions/", "agents/"])
def test_what_may_be_read_may_be_asked_for_its_head(client, area):
    answer = client.head(f"{V1}{area}")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("area", ["contacts", "sessions", "agents"])
def test_a_method_that_a_route_has_not_is_answered_alike_for_everyone(client, admin, conversation, area):
    for caller in (client, as_user(admin)):
        assert caller.put(f"{V1}{area}/{conversation.pk}/", {}, format="json").status_code == 405
