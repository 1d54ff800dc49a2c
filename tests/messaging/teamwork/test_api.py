"""How programs share conversations with staff: the actions of `conversations/{id}/`, their filters and events."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.credentials.keys import create_key
from messaging.models import Contact, Conversation, Event, Note
from tests.conftest import as_user, with_key
from tests.support.messaging.api import NOBODYS_ID, V1, get, post

ACTIONS = [
    ("assign", {"user": "me"}),
    ("labels", {"labels": ["vip"]}),
    ("snooze", {"minutes": 5}),
    ("done", {"reason": "solved"}),
    ("reopen", {}),
    ("notes", {"text": "Call back"}),
]


TICKS = [{}, {"is_shown_to_model": True}]


@pytest.fixture
def path(conversation):
    return f"conversations/{conversation.pk}/"


def events_of(conversation):
    rows = Event.objects.filter(conversation_id=conversation.pk, type__startswith="conversation.").order_by("id")
    return [(event.type.removeprefix("conversation."), event.data) for event in rows]


def test_a_conversation_is_assigned_to_oneself_a_colleague_and_nobody(client, path, member, admin, conversation):
    for user, name in (("me", "member"), (str(admin.pk), "admin"), (None, None)):
        answer = post(client, f"{path}assign/", user=user)
        assert (answer.status_code, (answer.json()["assigned_to"] or {}).get("username")) == (200, name)
    assert events_of(conversation) == [
        ("assigned", {"assigned_to": str(member.pk), "previous": None}),
        ("assigned", {"assigned_to": str(admin.pk), "previous": str(member.pk)}),
        ("assigned", {"assigned_to": None, "previous": str(admin.pk)}),
    ]


def test_a_conversation_is_assigned_only_to_somebody_who_sees_it(client, path, stranger):
    for user in (str(stranger.pk), NOBODYS_ID):
        answer = post(client, f"{path}assign/", user=user)
        assert (answer.status_code, "user" in answer.json()["fields"]) == (400, True)
    assert get(client, path)["assigned_to"] is None


@pytest.mark.parametrize("user", ["", "Me", "none", "x" * 37, 5, ["me"], {"id": 1}])
def test_an_assignee_is_me_an_id_or_null(client, path, user):
    answer = post(client, f"{path}assign/", user=user)
    assert (answer.status_code, "user" in answer.json()["fields"]) == (400, True)


def test_colleagues_are_those_to_whom_it_may_be_assigned(client, path, member, admin, stranger):
    assert [row["username"] for row in get(client, f"{path}colleagues/")["results"]] == ["admin", "member"]


def test_labels_are_replaced(client, path, conversation):
    assert post(client, f"{path}labels/", labels=["vip", " order ", "vip"]).json()["labels"] == ["vip", "order"]
    assert post(client, f"{path}labels/", labels=[]).json()["labels"] == []
    assert events_of(conversation) == [
        ("labels_changed", {"labels": ["vip", "order"], "previous": []}),
        ("labels_changed", {"labels": [], "previous": ["vip", "order"]}),
    ]


@pytest.mark.parametrize("labels", [["x" * 41], [str(n) for n in range(21)], ["a\nb"], "vip", [5], None])
def test_labels_that_are_too_long_too_many_or_no_texts_are_refused(client, path, labels):
    answer = post(client, f"{path}labels/", labels=labels)
    assert (answer.status_code, "labels" in answer.json()["fields"]) == (400, True)


def test_a_conversation_is_snoozed_done_and_opened_again(client, path, conversation):
    until = timezone.now() + timedelta(hours=3)
    assert post(client, f"{path}snooze/", until=until.isoformat()).json()["snoozed_until"] is not None
    done = post(client, f"{path}done/", reason="solved").json()
    assert (done["done_reason"], done["snoozed_until"], done["done_at"] is None) == ("solved", None, False)
    assert post(client, f"{path}reopen/").json()["done_at"] is None
    changes = [(data["previous"], data["status"]) for _, data in events_of(conversation)]
    assert changes == [("open", "snoozed"), ("snoozed", "done"), ("done", "open")]


def test_the_next_message_of_the_contact_is_the_event_that_opens_a_done_conversation(client, path, conversation, says):
    post(client, f"{path}done/")
    says("One more thing")
    assert events_of(conversation)[-1] == ("status_changed", {"status": "open", "previous": "done", "until": None})


@pytest.mark.parametrize(
    "body",
    [{}, {"minutes": 0}, {"minutes": 5, "until": "2099-01-01T00:00:00Z"}, {"until": "2001-01-01T00:00:00Z"}],
)
def test_a_snooze_needs_one_time_in_the_future(client, path, body):
    assert post(client, f"{path}snooze/", **body).status_code == 400


def test_notes_are_listed_newest_first_with_their_author(client, path, conversation):
    for text in ("first", "second"):
        assert post(client, f"{path}notes/", text=text).status_code == 201
    rows = get(client, f"{path}notes/")["results"]
    assert [(row["text"], row["author"]["username"]) for row in rows] == [("second", "member"), ("first", "member")]
    assert [kind for kind, _ in events_of(conversation)] == ["note_added", "note_added"]


def test_a_note_is_shown_to_the_model_only_if_ticked_and_the_tick_is_taken_back(client, path, conversation):
    plain, ticked = (post(client, f"{path}notes/", text="Call back", **more).json() for more in TICKS)
    assert (plain["is_shown_to_model"], ticked["is_shown_to_model"]) == (False, True)
    answer = client.patch(f"{V1}notes/{ticked['id']}/", {"is_shown_to_model": False}, format="json")
    assert (answer.status_code, answer.json()["is_shown_to_model"]) == (200, False)
    assert [(kind, data["is_shown_to_model"]) for kind, data in events_of(conversation)] == [
        ("note_added", False),
        ("note_added", True),
        ("note_changed", False),
    ]


def test_a_stranger_cannot_have_a_note_shown_to_the_model(client, path, stranger):
    note = post(client, f"{path}notes/", text="Secret").json()
    answer = as_user(stranger).patch(f"{V1}notes/{note['id']}/", {"is_shown_to_model": True}, format="json")
    assert (answer.status_code, Note.objects.get().is_shown_to_model) == (404, False)


def test_a_change_of_a_note_that_names_nothing_changes_nothing(client, path):
    note = post(client, f"{path}notes/", text="Call back", is_shown_to_model=True).json()
    answer = client.patch(f"{V1}notes/{note['id']}/", {}, format="json")
    assert (answer.status_code, Note.objects.get().is_shown_to_model) == (200, True)


@pytest.mark.parametrize("body", [{"is_shown_to_model": None}, {"is_shown_to_model": "maybe"}, {"text": "Other"}])
def test_only_the_tick_of_a_note_is_changed(client, path, body):
    note = post(client, f"{path}notes/", text="Call back").json()
    assert client.patch(f"{V1}notes/{note['id']}/", body, format="json").status_code == 400
    assert Note.objects.get().text == "Call back"


def test_a_note_that_is_sent_twice_with_one_key_is_stored_once(client, path):
    for _ in range(2):
        client.post(f"{V1}{path}notes/", {"text": "Call back"}, format="json", headers={"Idempotency-Key": "note-1"})
    assert Note.objects.count() == 1


@pytest.mark.parametrize("text", ["", "  ", "x" * 4001, 5, None])
def test_a_note_that_is_no_text_is_refused(client, path, text):
    assert post(client, f"{path}notes/", text=text).status_code == 400


def test_a_note_is_no_message(client, path):
    post(client, f"{path}notes/", text="Secret")
    assert get(client, f"{path}messages/")["results"] == []


@pytest.mark.parametrize(("name", "body"), ACTIONS)
def test_a_stranger_learns_nothing_and_changes_nothing(stranger, path, conversation, name, body):
    before = Conversation.objects.values().get()
    assert post(as_user(stranger), f"{path}{name}/", **body).status_code == 404
    assert (Conversation.objects.values().get(), Note.objects.count()) == (before, 0)


@pytest.mark.parametrize("name", ["notes", "colleagues", "saved-replies"])
def test_a_stranger_reads_nothing(stranger, path, name):
    assert as_user(stranger).get(f"{V1}{path}{name}/").status_code == 404


@pytest.mark.parametrize(("name", "body"), ACTIONS)
def test_a_viewer_and_a_reading_key_change_nothing(member, path, name, body):
    _, key = create_key(user=member, name="reads", scopes=["messages:read"])
    assert post(with_key(key), f"{path}{name}/", **body).status_code == 403
    member.groups.clear()
    assert post(as_user(member), f"{path}{name}/", **body).status_code == 403


# --- filters ------------------------------------------------------------------------------------------------------


@pytest.fixture
def others(session, conversation, member, admin):
    """Three more conversations: assigned to the administrator and snoozed, done and labelled, and neither."""
    now = timezone.now()
    rows = [
        {"assigned_to": admin, "snoozed_until": now + timedelta(hours=1)},
        {"done_at": now, "labels": ["vip", "order"]},
        {},
    ]
    Conversation.objects.update(assigned_to=member)
    return [
        Conversation.objects.create(
            session=session, contact=Contact.objects.create(session=session, name=f"c{n}"), address=f"{n}", **values
        )
        for n, values in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("assignee=me", ["Ana"]),
        ("assignee=none", ["c2", "c1"]),
        ("assignee={admin.pk}", ["c0"]),
        ("label=vip", ["c1"]),
        ("label=vi", []),
        ("label=order&assignee=none", ["c1"]),
        ("status=snoozed", ["c0"]),
        ("status=done", ["c1"]),
        ("status=open", ["c2", "Ana"]),
        ("status=done&status=snoozed", ["c1", "c0"]),
    ],
)
def test_conversations_are_found_by_assignee_label_and_status(client, others, admin, query, names):
    rows = client.get(f"{V1}conversations/?{query.format(admin=admin)}").json()["results"]
    assert [row["contact"]["name"] for row in rows] == names


@pytest.mark.parametrize(
    "query", ["assignee=", "assignee=you", "assignee=%00", "status=closed", "label=", "labels=vip"]
)
def test_an_assignee_label_or_status_that_is_none_is_refused(client, query):
    assert client.get(f"{V1}conversations/?{query}").status_code == 400


def test_each_reason_for_attention_is_an_event(conversation):
    for reason in Conversation.Attention:
        Conversation.objects.ask_for_attention(reason, note=f"why: {reason}")
    assert [data["reason"] for _, data in events_of(conversation)] == list(Conversation.Attention)


def test_an_event_carries_its_message_when_asked_to(client, says, feed):
    says("Good morning")
    query = "types=message.received&include=message"
    (event,) = client.get(f"{V1}events/?{query}").json()["results"]
    assert event["message"]["text"] == "Good morning"
