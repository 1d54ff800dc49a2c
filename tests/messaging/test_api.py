"""`conversations/`, `messages/` and `turns/` of the API."""

import base64
import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from messaging import views
from messaging.models import Contact, ContactAlias, Conversation, Message, Turn
from messaging.search.ranking import search
from tests.conftest import as_user

V1 = "/api/v1/"
NOBODYS_ID = "01a2060c-0186-76a7-9642-3a280e006d9b"


@pytest.fixture
def client(member):
    return as_user(member)


def get(client, path, **params):
    answer = client.get(V1 + path, params)
    assert answer.status_code == 200, answer.json()
    return answer.json()


def post(client, path, **body):
    return client.post(V1 + path, json.dumps(body), content_type="application/json")


# --- conversations ------------------------------------------------------------------------------------------------


def test_one_call_makes_a_list_of_conversations(client, says):
    says("Good morning")
    says("Are you open?")
    (row,) = get(client, "conversations/")["results"]
    assert row["contact"]["phone"] == "+5511988887777"
    assert row["session"]["name"] == "sales"
    assert (row["unread_count"], row["control"]) == (2, "agent")
    assert (row["last_message"]["text"], row["last_message"]["author"]) == ("Are you open?", "contact")


def test_a_conversation_without_a_message_is_shown_too(client, conversation):
    (row,) = get(client, "conversations/")["results"]
    assert (row["id"], row["last_message"]) == (str(conversation.pk), None)


def test_conversations_come_latest_first_and_page_by_page(client, session):
    now = timezone.now()
    for number in range(7):
        contact = Contact.objects.create(session=session, name=f"c{number}")
        at = None if number == 3 else now - timedelta(hours=number)
        Conversation.objects.create(session=session, contact=contact, address=f"{number}", last_message_at=at)
    Conversation.objects.filter(contact__name="c3").update(created_at=now - timedelta(hours=3))
    assert names_of_pages(client, "conversations/?page_size=3") == [
        ["c0", "c1", "c2"],
        ["c3", "c4", "c5"],
        ["c6"],
    ]


def names_of_pages(client, path):
    pages, link = [], V1 + path
    while link:
        answer = client.get(link).json()
        pages.append([row["contact"]["name"] for row in answer["results"]])
        link = answer["next"]
    return pages


def test_a_takeover_silences_the_agent_and_a_release_gives_it_back(client, member, conversation):
    answer = post(client, f"conversations/{conversation.pk}/takeover/", minutes=30, reason="a complaint")
    assert answer.status_code == 200
    assert answer.json()["control"] == "human"
    assert answer.json()["control_reason"] == "a complaint"
    assert answer.json()["controlled_by"]["username"] == "member"
    assert timezone.now() < Conversation.objects.get().control_until <= timezone.now() + timedelta(minutes=30)
    answer = post(client, f"conversations/{conversation.pk}/release/")
    assert (answer.status_code, answer.json()["control"]) == (200, "agent")


def test_a_takeover_without_an_end_lasts_until_released(client, conversation):
    answer = post(client, f"conversations/{conversation.pk}/takeover/")
    assert (answer.json()["control"], answer.json()["control_until"]) == ("human", None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"minutes": 0}, "minutes"),
        ({"minutes": 10**30}, "minutes"),
        ({"minutes": "30"}, "minutes"),
        ({"until": "tomorrow"}, "until"),
        ({"until": "2020-01-01T00:00:00Z"}, "until"),
        ({"until": "99999-01-01T00:00:00Z"}, "until"),
        ({"until": "2099-01-01T00:00:00Z", "minutes": 5}, "minutes"),
        ({"reason": "x" * 201}, "reason"),
        ({"untill": "2099-01-01T00:00:00Z"}, "untill"),
    ],
)
def test_a_takeover_that_makes_no_sense_names_the_field(client, conversation, body, field):
    answer = post(client, f"conversations/{conversation.pk}/takeover/", **body)
    assert answer.status_code == 400
    assert list(answer.json().get("fields", {field: 0})) == [field]
    assert Conversation.objects.get().control == "agent"


def test_marking_read_leaves_nothing_unread(client, says):
    kept = says("Hello")
    assert post(client, f"conversations/{kept.conversation_id}/read/").json()["unread_count"] == 0


# --- messages -----------------------------------------------------------------------------------------------------


def test_what_was_said_is_read_newest_first(client, says):
    for text in ("one", "two", "three"):
        kept = says(text)
    rows = get(client, f"conversations/{kept.conversation_id}/messages/")["results"]
    assert [row["text"] for row in rows] == ["three", "two", "one"]
    assert rows[0]["sender"]["phone"] == "+5511988887777"
    assert [row["id"] for row in get(client, "messages/")["results"]] == [row["id"] for row in rows]
    assert get(client, f"messages/{kept.message_id}/") == rows[0]


def test_a_text_sent_by_a_person_is_queued_and_takes_the_conversation_over(client, member, conversation):
    answer = post(client, f"conversations/{conversation.pk}/messages/", text="I am here now")
    assert answer.status_code == 201, answer.json()
    assert (answer.json()["status"], answer.json()["author"]) == ("queued", "staff")
    message = Message.objects.get()
    assert (message.text, message.sent_by) == ("I am here now", member)
    assert Conversation.objects.get().control == "human"


def test_a_text_is_sent_to_a_phone_nobody_wrote_from(client, session):
    answer = post(client, "messages/", session=str(session.pk), to="+55 11 97777-6666", text="Hello")
    assert answer.status_code == 201, answer.json()
    assert Contact.objects.get().phone == "+5511977776666"


def test_a_text_is_sent_to_a_conversation(client, conversation):
    answer = post(client, "messages/", conversation=str(conversation.pk), text="Hello")
    assert (answer.status_code, answer.json()["conversation"]) == (201, str(conversation.pk))


def test_a_text_may_reply_only_to_a_message_of_its_conversation(client, says, session):
    kept = says("Hello")
    other = Conversation.objects.create(session=session, contact=Contact.objects.create(session=session), address="1")
    answer = post(client, f"conversations/{other.pk}/messages/", text="Yes", reply_to=str(kept.message_id))
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["reply_to"])
    assert not Message.objects.filter(direction="outbound").exists()


def test_a_disconnected_session_sends_nothing_and_says_so(client, session):
    session.status = "disconnected"
    session.save()
    answer = post(client, "messages/", session=str(session.pk), to="+5511977776666", text="Hello")
    assert (answer.status_code, answer.json()["code"]) == (409, "session_not_connected")
    assert not Contact.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": "   "}, "text"),
        ({"text": None}, "text"),
        ({"text": 5}, "text"),
        ({"text": ["a"]}, "text"),
        ({"text": "a\x00b"}, "text"),
        ({"text": "\ud800"}, "text"),
        ({"text": "x" * 5000}, "text"),
        ({"text": "x" * 70000}, "text"),
        ({"text": "x", "reply_to": "nonsense"}, "reply_to"),
        ({"text": "x", "author": "agent"}, "author"),
    ],
)
def test_a_text_that_makes_no_sense_names_the_field(client, conversation, body, field):
    answer = post(client, f"conversations/{conversation.pk}/messages/", **body)
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    "to", ["", "hello", "123", "+", "+" + "9" * 39, "5511988887777@s.whatsapp.net", "+1\x00", "٣" * 12, "+0000000000"]
)
def test_what_is_no_phone_number_is_not_written_to(client, session, to):
    answer = post(client, "messages/", session=str(session.pk), to=to, text="Hello")
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["to"])
    assert not Contact.objects.exists()


@pytest.mark.parametrize("status", ["failed", "unconfirmed", "cancelled"])
def test_what_was_not_sent_is_sent_again(client, session, conversation, status):
    message = outbound(conversation, status=status)
    answer = post(client, f"messages/{message.pk}/retry/")
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")


def test_what_has_arrived_is_not_sent_again(client, conversation):
    answer = post(client, f"messages/{outbound(conversation, status='read').pk}/retry/")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


def outbound(conversation, **values):
    return Message.objects.create(
        session=conversation.session,
        conversation=conversation,
        direction="outbound",
        author="agent",
        text="Hi",
        **values,
    )


# --- turns --------------------------------------------------------------------------------------------------------


@pytest.fixture
def failed_turn(says):
    kept = says("Hello")
    turn = Turn.objects.create(
        conversation_id=kept.conversation_id, outcome="failed", reason="timeout", started_at=timezone.now()
    )
    turn.tool_calls.create(name="search", status="done", arguments={"words": "x"})
    Message.objects.update(status="handled", turn=turn)
    Conversation.objects.update(due_at=None)
    return turn


def test_a_turn_tells_what_was_asked_and_used(client, failed_turn):
    (row,) = get(client, "turns/")["results"]
    assert (row["outcome"], row["reason"]) == ("failed", "timeout")
    turn = get(client, f"turns/{failed_turn.pk}/")
    assert [message["text"] for message in turn["messages"]] == ["Hello"]
    assert [call["name"] for call in turn["tool_calls"]] == ["search"]


def test_a_failed_turn_is_run_again_once(client, failed_turn):
    assert post(client, f"turns/{failed_turn.pk}/retry/").status_code == 202
    assert Conversation.objects.get().due_at is not None
    assert post(client, f"turns/{failed_turn.pk}/retry/").status_code == 409


# --- strangers ----------------------------------------------------------------------------------------------------


def test_a_stranger_sees_nothing_and_changes_nothing(stranger, session, failed_turn):
    client, conversation, message = as_user(stranger), Conversation.objects.get(), Message.objects.get()
    for path in ("conversations/", "messages/", "turns/"):
        assert get(client, path)["results"] == []
    for path in (
        f"conversations/{conversation.pk}/",
        f"conversations/{conversation.pk}/messages/",
        f"messages/{message.pk}/",
        f"turns/{failed_turn.pk}/",
    ):
        assert client.get(V1 + path).status_code == 404, path
    for path, body in (
        (f"conversations/{conversation.pk}/takeover/", {}),
        (f"conversations/{conversation.pk}/release/", {}),
        (f"conversations/{conversation.pk}/read/", {}),
        (f"conversations/{conversation.pk}/messages/", {"text": "x"}),
        (f"messages/{message.pk}/retry/", {}),
        (f"turns/{failed_turn.pk}/retry/", {}),
        ("messages/", {"conversation": str(conversation.pk), "text": "x"}),
        ("messages/", {"session": str(session.pk), "to": "+5511977776666", "text": "x"}),
    ):
        assert post(client, path, **body).status_code == 404, path
    assert Message.objects.count() == 1
    conversation.refresh_from_db()
    assert (conversation.control, conversation.unread_count, conversation.due_at) == ("agent", 1, None)


@pytest.mark.parametrize("identifier", ["nonsense", NOBODYS_ID, "0", "%00", "9" * 400, "%ff"])
@pytest.mark.parametrize("area", ["sessions", "conversations", "messages", "turns"])
def test_an_id_that_is_none_is_not_found(client, area, identifier):
    answer = client.get(f"{V1}{area}/{identifier}/")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


# --- pages --------------------------------------------------------------------------------------------------------


def test_pages_of_messages_lose_and_repeat_nothing_while_more_come_in(client, conversation):
    at = timezone.now()
    for number in range(10):  # several at the very same time
        outbound(conversation, status="sent", said_at=at - timedelta(seconds=number // 4))
    first = get(client, "messages/", page_size=4)
    outbound(conversation, status="sent")
    second = client.get(first["next"]).json()
    third = client.get(second["next"]).json()
    ids = [row["id"] for page in (first, second, third) for row in page["results"]]
    assert (len(ids), len(set(ids)), third["next"]) == (10, 10, None)
    back = client.get(third["previous"]).json()
    assert back["results"] == second["results"]
    newest = client.get(client.get(back["previous"]).json()["previous"]).json()
    assert len(newest["results"]) == 1
    assert newest["previous"] is None


def cursor(text):
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "params",
    [
        {"cursor": "nonsense"},
        {"cursor": "%%%"},
        {"cursor": "\x00"},
        {"cursor": "é"},
        {"cursor": cursor("n|2026-01-01T00:00:00+00:00")},
        {"cursor": cursor("n|2026-01-01T00:00:00+00:00|nonsense")},
        {"cursor": cursor("n|2026-01-01T00:00:00|{NOBODYS_ID}")},
        {"cursor": cursor("n|0001-01-01T00:00:00+23:59|{NOBODYS_ID}")},
        {"cursor": cursor("x|2026-01-01T00:00:00+00:00|{NOBODYS_ID}")},
        {"cursor": cursor("x" * 10000)},
        {"page_size": "0"},
        {"page_size": "-1"},
        {"page_size": "201"},
        {"page_size": "9" * 5000},
        {"page_size": "²"},
        {"page_size": "ten"},
    ],
    ids=lambda params: str(params)[:40],
)
@pytest.mark.parametrize("area", ["messages/", "conversations/"])
def test_a_page_that_is_none_is_a_mistake_of_the_caller(client, area, params):
    answer = client.get(V1 + area, params)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


@pytest.mark.parametrize("area", ["sessions/", "conversations/", "messages/", "turns/"])
def test_a_list_costs_the_same_queries_however_long_it_is(client, session, area):
    def rows(count):
        for _ in range(count):
            contact = Contact.objects.create(session=session)
            conversation = Conversation.objects.create(session=session, contact=contact, address="x")
            outbound(conversation, status="sent", sender=contact)
            Turn.objects.create(conversation=conversation, outcome="answered", started_at=timezone.now())

    def queries():
        with CaptureQueriesContext(connection) as captured:
            get(client, area)
        return len(captured)

    rows(1)
    queries()  # a connection plans the statement that shows rows once
    few = queries()
    rows(10)
    assert queries() == few <= 4


def test_a_contact_shows_its_aliases_in_one_order_wherever_it_is_shown(client, says):
    says("Hello")
    contact = Contact.objects.get()
    for number in range(3):
        ContactAlias.objects.create(session=contact.session, contact=contact, kind="lid", value=f"{number}@lid")
    contact.aliases.filter(kind="phone").update(value="+552")  # which moves its row to the end of the table
    shown = [
        get(client, "contacts/")["results"][0],
        get(client, f"contacts/{contact.pk}/"),
        client.patch(f"{V1}contacts/{contact.pk}/", json.dumps({}), content_type="application/json").json(),
    ]
    assert [alias["value"] for alias in shown[0]["aliases"]] == ["+552", "0@lid", "1@lid", "2@lid"]
    assert shown[0] == shown[1] == shown[2]


def test_what_disappears_between_finding_and_showing_is_left_out(client, says, monkeypatch):
    kept = says("kayak")
    says("kayak, too")

    def found_a_moment_ago(**asked):
        hits = search(**asked)
        Message.objects.filter(text="kayak, too").delete()
        return hits

    monkeypatch.setattr(views, "search", found_a_moment_ago)
    (hit,) = get(client, f"conversations/{kept.conversation_id}/search/", q="kayak")["results"]
    assert (hit["message"]["text"], hit["neighbours"]) == ("kayak", [])


# --- errors -------------------------------------------------------------------------------------------------------


def test_an_unknown_route_answers_in_json(client):
    for path in ("nonsense/", "nonsense", ""):
        answer = client.get(V1 + path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_method_a_route_does_not_have_answers_in_json(client):
    answer = client.delete(f"{V1}messages/")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff",
        b'{"text": NaN}',
        b"[" * 100_000,
        b'{"text": ' + b"9" * 10_000 + b"}",
        b"null",
        b"5",
        b"[]",
        b'{"text": 1e999}',
    ],
)
def test_a_body_that_cannot_be_read_is_a_mistake_of_the_caller(client, conversation, body):
    answer = client.post(f"{V1}conversations/{conversation.pk}/messages/", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["code"] in {"parse_error", "invalid"}


def test_a_body_that_is_too_large_is_refused(client, conversation):
    body = b'{"text": "' + b"x" * 1024 * 1024 + b'"}'
    answer = client.post(f"{V1}messages/", data=body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_another_kind_of_body_is_refused(client):
    answer = client.post(f"{V1}messages/", data="<x/>", content_type="application/xml")
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_a_mistake_of_ours_is_told_by_an_id_that_is_in_the_log(client, conversation, monkeypatch, caplog):
    def fail(**_):
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("messaging.views.send_text", fail)
    answer = post(client, f"conversations/{conversation.pk}/messages/", text="Hello")
    assert (answer.status_code, answer.json()["code"]) == (500, "server_error")
    assert "secret" not in answer.content.decode()
    assert answer.json()["id"] in caplog.text


# --- search -------------------------------------------------------------------------------------------------------


def test_a_search_gives_messages_with_their_neighbours_and_reasons(client, conversation, says):
    for text in ("Hello", "Where is the kayak?", "In the garage"):
        says(text)
    results = get(client, f"conversations/{conversation.pk}/search/", q="kayaks", limit=1)["results"]
    (hit,) = results
    assert hit["message"] == next(
        row
        for row in get(client, f"conversations/{conversation.pk}/messages/")["results"]
        if row["text"] == "Where is the kayak?"
    )
    assert hit["message"]["provider_message_id"]
    assert [near["text"] for near in hit["neighbours"]] == ["Hello", "In the garage"]
    assert hit["why"] == ["says kayaks"]


def test_a_stranger_finds_nothing_in_anybodys_conversation(stranger, conversation, says):
    says("kayak")
    assert as_user(stranger).get(f"{V1}conversations/{conversation.pk}/search/", {"q": "kayak"}).status_code == 404


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "q"),
        ({"q": "x", "limit": "0"}, "limit"),
        ({"q": "x", "limit": "51"}, "limit"),
        ({"q": "x", "limit": "many"}, "limit"),
        ({"q": "x", "offset": "1"}, "offset"),
        ({"q": "\x00"}, "q"),
        ({"q": "x" * 501}, "q"),
        ({"q": "x", "limit": ""}, "limit"),
    ],
)
def test_a_search_that_cannot_be_understood_is_refused_by_name(client, conversation, params, field):
    answer = client.get(f"{V1}conversations/{conversation.pk}/search/", params)
    assert answer.status_code == 400
    assert field in answer.json()["fields"]


@pytest.mark.parametrize("query", ["", "?!", "'; --", "kayak " * 80])
def test_a_search_for_nothing_finds_nothing(client, conversation, says, query):
    says("Hello")
    assert get(client, f"conversations/{conversation.pk}/search/", q=query) == {"results": []}


def test_a_search_takes_a_constant_number_of_queries(client, conversation, says):
    says("kayak")
    get(client, f"conversations/{conversation.pk}/search/", q="kayak")
    with CaptureQueriesContext(connection) as few:
        get(client, f"conversations/{conversation.pk}/search/", q="kayak")
    for number in range(20):
        says(f"kayak {number}")
    get(client, f"conversations/{conversation.pk}/search/", q="kayak")
    with CaptureQueriesContext(connection) as many:
        get(client, f"conversations/{conversation.pk}/search/", q="kayak", limit=20)
    assert len(many) == len(few)
