"""Each kind of message as its bubble shows it, on the page and in what a poll brings; and what is done to it."""

import re
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from messaging.models import Contact, Conversation, Media, Message
from sessions_app.models import Bridge, Membership, WhatsAppSession
from tests.support.messaging.admin import LogIn, create_outbound

CALL = {"call": {"status": "missed", "is_video": False}}
LONG_CALL = {"call": {"status": "ended", "is_video": True, "duration_s": 180}}
CARD = {"contacts": [{"name": "Bea <b>", "phone": "+5511977776666"}]}
POLL = {"poll": {"name": "Lunch?", "options": ["Pizza", "<i>Soup</i>"]}}
PLACE = {"location": {"name": "Shop", "latitude": -23.5, "longitude": -46.6}}


@pytest.fixture
def viewer(session: WhatsAppSession, staff_viewer: User) -> User:
    Membership.objects.create(session=session, user=staff_viewer)
    return staff_viewer


def receive(conversation: Conversation, **values: Any) -> Message:
    defaults = {"direction": "inbound", "author": "contact", "status": "handled", "text": ""}
    return Message.objects.create(session=conversation.session, conversation=conversation, **(defaults | values))


def bubble_of(client: Client, message: Message) -> tuple[str, str]:
    """Return the bubble as a poll brings it, as HTML and as text; the page has the same."""
    parts = client.get(reverse("inbox-changes", args=[message.conversation_id])).json()["messages"]
    page = client.get(reverse("inbox-conversation", args=[message.conversation_id])).content.decode()
    found = re.search(rf'<li class="bubble [^>]*id="m-{message.pk}">(.*?)</li>', parts, re.DOTALL)
    assert found is not None
    assert found[1].strip() in page
    return found[0], " ".join(unescape(re.sub("<[^>]+>", " ", found[1])).split())


BUBBLES = [
    ("sticker", {}, "Sticker"),
    ("call", CALL, "Missed voice call"),
    ("call", LONG_CALL, "Video call, 3 min"),
    ("call", {"call": "nonsense"}, "Voice call"),
    ("contact", CARD, "Contact: Bea <b> +5511977776666"),
    ("contact", {"contacts": "nonsense"}, "Contact:"),
    ("unknown", POLL, "Poll: Lunch? (Pizza / <i>Soup</i>)"),
    ("unknown", {"album": {}}, "Album"),
    ("unknown", {}, "Unknown"),
    ("reaction", {"emoji": "❤"}, "Reacted with ❤"),
    ("reaction", {"emoji": ""}, "Took a reaction back"),
    ("location", PLACE, "Location, Shop, -23.5, -46.6"),
    ("location", {"location": {"latitude": "north"}}, "Location, north"),
    ("order", {}, "Order"),
    ("interactive", {}, "Interactive"),
    ("unsupported", {}, "Unsupported"),
]


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
@pytest.mark.parametrize(("kind", "details", "words"), BUBBLES)
def test_a_bubble_says_what_the_message_is(
    conversation: Conversation, staff_member: User, log_in: LogIn,
    kind: str, details: dict[str, Any], words: str, direction: str,
) -> None:  # fmt: skip
    message = receive(conversation, kind=kind, details=details)
    if direction == "outbound":
        Message.objects.filter(pk=message.pk).update(direction="outbound", author="phone", status="sent")
    html, text = bubble_of(log_in(staff_member), message)
    expected = words
    if direction == "outbound" and kind == "call":
        expected = words.replace("call", "call that we made", 1)
    assert expected in text
    assert not re.search("<b>|<i>", html)


@pytest.mark.parametrize(("kind", "details", "words"), BUBBLES)
def test_a_viewer_sees_the_same_and_can_do_nothing_to_it(
    conversation: Conversation, viewer: User, log_in: LogIn, kind: str, details: dict[str, Any], words: str
) -> None:
    html, text = bubble_of(log_in(viewer), receive(conversation, kind=kind, details=details))
    assert (words in text, "data-act" in html, "data-quote" in html) == (True, False, False)


@pytest.mark.parametrize(("mime_type", "shape"), [
    ("image/jpeg", "image"), ("image/svg+xml", "document"), ("audio/ogg; codecs=opus", "audio"), ("video/mp4", "video"),
    ("application/pdf", "document"), ("text/html", "document"),
])  # fmt: skip
def test_a_file_is_played_or_shown_where_the_browser_can_and_offered_to_save_where_not(
    conversation: Conversation, staff_member: User, log_in: LogIn, mime_type: str, shape: str
) -> None:
    message = receive(conversation, kind="document")
    media = Media.objects.create(
        message=message, mime_type=mime_type, filename="Price <list>", size_bytes=2048, file="some/file"
    )
    address = reverse("inbox-media", args=[media.pk])
    html, text = bubble_of(log_in(staff_member), message)
    expected = {
        "image": f'<img src="{address}" alt="Price &lt;list&gt;"',
        "audio": f'<audio controls preload="none" src="{address}">',
        "video": f'<video controls preload="none" src="{address}">',
        "document": f'<a class="file" href="{address}">',
    }
    assert [name for name, tag in expected.items() if tag in html] == [shape]
    assert ("Price <list>" in text, "2.0\xa0KB" in unescape(html)) == (shape == "document", shape == "document")


@pytest.mark.parametrize(("mime_type", "words"), [
    ("audio/ogg", "“Do you deliver?”"), ("application/pdf", "What is in it Do you deliver?"),
])  # fmt: skip
def test_what_was_heard_or_read_in_a_file_stands_below_it(
    conversation: Conversation, staff_member: User, log_in: LogIn, mime_type: str, words: str
) -> None:
    message = receive(conversation, kind="document")
    Media.objects.create(message=message, mime_type=mime_type, file="a", transcript="Do you\n deliver?")
    assert words in bubble_of(log_in(staff_member), message)[1]


def test_a_file_that_was_not_fetched_is_named_as_being_on_the_phone(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    message = receive(conversation, kind="video")
    Media.objects.create(message=message, mime_type="video/mp4", filename="tour.mp4")
    html, text = bubble_of(log_in(staff_member), message)
    assert ("Video: tour.mp4 · on the phone" in text, "<video" in html) == (True, False)


def test_the_name_of_a_file_turns_no_word_of_ours_around(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    message = receive(conversation, kind="document")
    Media.objects.create(message=message, mime_type="text/plain", filename="\u2067\u2066\u202etxt.exe")
    assert "Document: txt.exe · on the phone" in bubble_of(log_in(staff_member), message)[1]


def test_a_quoted_file_without_a_text_is_named_and_leads_to_its_bubble(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    voice = receive(conversation, kind="voice")
    answer = create_outbound(conversation, status="sent", quoted=voice)
    html, _ = bubble_of(log_in(staff_member), answer)
    assert f'<a href="#m-{voice.pk}" data-jump>Voice</a>' in html


def test_a_quotation_shows_no_words_of_a_message_that_was_deleted(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    secret = receive(conversation, text="My secret", revoked_at=timezone.now())
    html, text = bubble_of(log_in(staff_member), create_outbound(conversation, status="sent", quoted=secret))
    assert ("This message was deleted" in text, "My secret" in html) == (True, False)


def test_each_day_stands_once_before_its_messages(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    for said_at in (datetime(2026, 3, day, hour, tzinfo=UTC) for day in (1, 2) for hour in (9, 15)):
        receive(conversation, text=f"At {said_at:%d %H}.", said_at=said_at)
    page = log_in(staff_member).get(reverse("inbox-conversation", args=[conversation.pk])).content.decode()
    seen = re.findall(r"Sunday, 1 March 2026|Monday, 2 March 2026|At \d\d \d\d\.", page.partition('id="messages"')[2])
    assert seen == ["Sunday, 1 March 2026", "At 01 09.", "At 01 15.", "Monday, 2 March 2026", "At 02 09.", "At 02 15."]


@pytest.mark.parametrize("text", ["long " * 20_000, "line\n" * 60, "x" * 100_000])
def test_a_long_text_is_cut_and_the_rest_comes_when_it_is_asked_for(
    conversation: Conversation, staff_member: User, staff_stranger: User, log_in: LogIn, text: str
) -> None:
    message, client = receive(conversation, text=text), log_in(staff_member)
    html, shown = bubble_of(client, message)
    address = reverse("inbox-text", args=[conversation.pk, message.pk])
    assert (f'hx-get="{address}"' in html, shown.endswith("…") or "… More" in shown) == (True, True)
    assert len(shown) < 1400
    assert len(unescape(client.get(address).content.decode()).split()) == len(text.split())
    assert log_in(staff_stranger).get(address).status_code == 404


def test_an_edited_message_shows_its_text_and_the_one_before(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    message = receive(conversation, text="At ten", edited_at=timezone.now(), earlier_texts=[{"text": "At <b>nine</b>"}])
    html, text = bubble_of(log_in(staff_member), message)
    assert all(words in text for words in ("At ten", "edited", "Before it was edited", "At <b>nine</b>"))
    assert "At &lt;b&gt;nine" in html


@pytest.mark.parametrize("kind", ["text", "image", "location", "contact"])
def test_of_a_deleted_message_nothing_is_shown_but_that_it_was_deleted(
    conversation: Conversation, staff_member: User, log_in: LogIn, kind: str
) -> None:
    details = {"location": PLACE, "contact": CARD}.get(kind, {})
    message = receive(
        conversation, kind=kind, text="My secret", details=details, revoked_at=timezone.now(),
        edited_at=timezone.now(), earlier_texts=[{"text": "An earlier secret"}],
    )  # fmt: skip
    if kind == "image":
        Media.objects.create(message=message, filename="secret.jpg", mime_type="image/jpeg", extract="secret words")
    html, text = bubble_of(log_in(staff_member), message)
    assert "This message was deleted" in text
    assert not any(words in html for words in ("secret", "Shop", "Bea", "openstreetmap", "data-quote"))


@pytest.mark.parametrize(("to", "is_blocked", "said", "is_told"), [
    ("1", True, "Blocked: the agent does not answer this contact.", True),
    ("0", False, "Unblocked.", False),
])  # fmt: skip
def test_a_contact_is_blocked_and_unblocked_and_its_page_says_so(
    conversation: Conversation, staff_member: User, log_in: LogIn, to: str, is_blocked: bool, said: str, is_told: bool
) -> None:
    Contact.objects.update(is_blocked=not is_blocked)
    client = log_in(staff_member)
    for _ in range(2):  # a second click changes nothing more
        answer = client.post(reverse("inbox-act", args=[conversation.pk, "block"]), {"to": to})
        assert (answer.status_code, answer.json()["said"]) == (200, said)
    parts = client.get(reverse("inbox-changes", args=[conversation.pk])).json()
    assert Contact.objects.get().is_blocked == is_blocked
    assert ("blocked" in parts["head"].lower(), ">Unblock<" in parts["contact"]) == (is_told, is_told)
    assert LogEntry.objects.filter(user=staff_member, change_message="Inbox: block.").count() == 2


@pytest.mark.parametrize("hours", ["", "1", "24"])
def test_a_conversation_is_muted_for_a_while_or_until_it_is_released(
    conversation: Conversation, staff_member: User, log_in: LogIn, hours: str
) -> None:
    client, before = log_in(staff_member), timezone.now()
    answer = client.post(reverse("inbox-act", args=[conversation.pk, "control"]), {"to": "muted", "hours": hours})
    conversation.refresh_from_db()
    until = conversation.control_until
    lasts_h = round((until - before).total_seconds() / 3600) if until else None
    assert (answer.status_code, answer.json()["said"]) == (200, "Muted: nobody answers here.")
    assert (conversation.control, lasts_h) == ("muted", int(hours) if hours else None)


@pytest.mark.parametrize(("status", "is_sent_again"), [
    ("failed", True), ("unconfirmed", True), ("sent", False), ("read", False), ("queued", False),
])  # fmt: skip
def test_only_what_did_not_arrive_is_sent_again(
    conversation: Conversation, staff_member: User, log_in: LogIn, status: str, is_sent_again: bool
) -> None:
    message, client = (
        create_outbound(conversation, status=status, error="WAHA refuses our API key."),
        log_in(staff_member),
    )
    html, text = bubble_of(client, message)
    values = {"kind": "message", "row": str(message.pk)}
    answer = client.post(reverse("inbox-act", args=[conversation.pk, "retry"]), values)
    again = client.post(reverse("inbox-act", args=[conversation.pk, "retry"]), values)
    message.refresh_from_db()
    assert ("Send again" in text, "data-ask" in html) == (is_sent_again, status == "unconfirmed")
    assert (answer.status_code, again.status_code) == (200 if is_sent_again else 409, 409)
    assert message.status == ("queued" if is_sent_again else status)


def test_why_a_message_was_not_sent_is_read_in_portuguese(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    User.objects.filter(pk=staff_member.pk).update(language="pt-br")
    Bridge.objects.update(kind="waha")
    message = create_outbound(conversation, status="failed", error="WAHA answered with status 503.")
    _, text = bubble_of(log_in(staff_member), message)
    assert "WAHA respondeu com o status 503." in text
