"""Saved replies: whose they are, what is filled in, and their pages."""

import pytest
from django.urls import reverse

from messaging.models import Contact, SavedReply
from messaging.teamwork import saved_replies
from sessions_app.models import WhatsAppSession
from tests.conftest import as_user
from tests.support.messaging.api import NOBODYS_ID, V1, get, post
from whatsapp_agent.errors import Conflict, Forbidden, InvalidInput, NotFound


def create(by, session=None, shortcut="hours", text="We open at 9, {name}."):
    return saved_replies.create_reply(by=by, session=session, shortcut=shortcut, text=text)


@pytest.mark.parametrize(
    ("name", "text", "filled"),
    [
        ("Ana", "Hello {name}, welcome!", "Hello Ana, welcome!"),
        ("", "Hello {name}, welcome!", "Hello, welcome!"),
        ("Ana", "{NAME} {name} {other} {} {name", "Ana Ana {other} {} {name"),
        ("{name}", "Hi {name}", "Hi {name}"),
        ("\\1 <b>x</b>\n\u202e!", "Hi {name}", "Hi \\1 <b>x</b> \u202e!"),
    ],
)
def test_the_name_is_filled_in_as_it_is(name, text, filled):
    assert saved_replies.fill(text, contact=Contact(name=name)) == filled


def test_a_reply_of_the_session_stands_for_one_for_all(conversation, session, admin, member):
    create(admin, text="for all")
    create(admin, shortcut="zoo", text="Lions")
    create(member, session, shortcut="Hours", text="Hi {name}")
    found = saved_replies.suggest(conversation=conversation)
    assert [(reply.shortcut, reply.text) for reply in found] == [("Hours", "Hi Ana"), ("zoo", "Lions")]


@pytest.mark.parametrize(("prefix", "count"), [("/HO", 1), ("ho", 1), ("ours", 0), ("%", 0), ("_", 0), ("\x00", 0)])
def test_replies_are_suggested_by_how_their_shortcut_begins(conversation, admin, prefix, count):
    create(admin)
    assert len(saved_replies.suggest(conversation=conversation, prefix=prefix)) == count


def test_replies_of_other_sessions_are_not_suggested(conversation, session, admin):
    other = WhatsAppSession.objects.create(bridge=session.bridge, name="other", agent_profile=session.agent_profile)
    create(admin, other)
    assert saved_replies.suggest(conversation=conversation) == []


def test_a_shortcut_is_there_once_in_its_scope_whatever_its_case(session, admin, member):
    create(admin)
    create(member, session)
    for values in ({"by": admin}, {"by": member, "session": session}):
        with pytest.raises(Conflict):
            create(**values, shortcut="HOURS")


def test_only_administrators_keep_replies_for_all_sessions(session, admin, member, stranger):
    reply = create(admin)
    for act in (
        lambda: create(member, shortcut="x"),
        lambda: saved_replies.change_reply(reply, by=member, text="Mine"),
        lambda: saved_replies.delete_reply(reply, by=member),
    ):
        with pytest.raises(Forbidden):
            act()
    with pytest.raises(NotFound):
        create(stranger, session)
    assert SavedReply.objects.get().text == "We open at 9, {name}."


@pytest.mark.parametrize("shortcut", ["", "/", "two words", "a/b", "x" * 41, "a\nb", "<b>"])
def test_a_shortcut_is_one_plain_word(session, member, shortcut):
    with pytest.raises(InvalidInput):
        create(member, session, shortcut=shortcut)


def test_a_reply_is_made_read_changed_and_deleted_by_api(member, session, conversation):
    client = as_user(member)
    made = post(client, "saved-replies/", session=str(session.pk), shortcut="hours", text="Hi {name}").json()
    assert get(client, f"saved-replies/{made['id']}/")["text"] == "Hi {name}"
    changed = client.patch(f"{V1}saved-replies/{made['id']}/", {"text": "Bye {name}"}, format="json")
    assert (changed.status_code, changed.json()["shortcut"]) == (200, "hours")
    (filled,) = get(client, f"conversations/{conversation.pk}/saved-replies/", q="h")["results"]
    assert filled["text"] == "Bye Ana"
    assert client.delete(f"{V1}saved-replies/{made['id']}/").status_code == 204
    assert get(client, "saved-replies/")["results"] == []


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"shortcut": "x", "text": "y"}, 403, None),
        ({"session": NOBODYS_ID, "shortcut": "x", "text": "y"}, 400, "session"),
        ({"session": "{own}", "shortcut": "a b", "text": "y"}, 400, "shortcut"),
        ({"session": "{own}", "shortcut": "x", "text": " "}, 400, "text"),
        ({"session": "{own}", "shortcut": "x", "text": "y" * 4001}, 400, "text"),
        ({"session": "{own}", "shortcut": "taken", "text": "y"}, 409, "shortcut"),
    ],
)
def test_a_reply_that_may_not_be_is_refused(member, session, body, status, field):
    create(member, session, shortcut="taken")
    answer = post(as_user(member), "saved-replies/", **{k: v.format(own=session.pk) for k, v in body.items()})
    assert (answer.status_code, field in answer.json().get("fields", {None: 0})) == (status, True)


def test_a_stranger_sees_replies_for_all_and_none_of_the_session(stranger, admin, session):
    create(admin)
    hidden = create(admin, session)
    client = as_user(stranger)
    assert [row["session"] for row in get(client, "saved-replies/")["results"]] == [None]
    for method in ("get", "patch", "delete"):
        assert getattr(client, method)(f"{V1}saved-replies/{hidden.pk}/", format="json").status_code == 404


def test_operators_keep_replies_of_their_sessions_in_the_admin(staff_member, admin, session, log_in):
    browser = log_in(staff_member)
    add = "/admin/messaging/savedreply/add/"
    refused = browser.post(add, {"session": "", "shortcut": "hours", "text": "We open at 9."})
    assert (refused.status_code, SavedReply.objects.count()) == (200, 0)
    browser.post(add, {"session": str(session.pk), "shortcut": "hours", "text": "We open at 9."})
    assert SavedReply.objects.get().session == session
    for_all = create(admin)
    page = f"/admin/messaging/savedreply/{for_all.pk}/change/"
    assert browser.post(page, {"shortcut": "mine", "text": "Mine"}).status_code == 403
    assert log_in(admin).post(page, {"shortcut": "ours", "text": "Ours"}).status_code == 302
    for_all.refresh_from_db()
    assert for_all.text == "Ours"


def test_a_shortcut_that_is_taken_is_an_error_beside_its_field(admin, log_in):
    create(admin)
    answer = log_in(admin).post("/admin/messaging/savedreply/add/", {"session": "", "shortcut": "Hours", "text": "x"})
    assert (answer.status_code, SavedReply.objects.count()) == (200, 1)
    assert answer.context["adminform"].form.errors == {"shortcut": ["This shortcut is taken."]}


def test_the_admin_shows_each_role_whom_a_reply_may_be_for(session, admin, staff_member, log_in):
    def help_text(user):
        form = log_in(user).get(reverse("admin:messaging_savedreply_add")).context["adminform"].form
        field = form.fields["session"]
        return str(field.help_text), field.required

    assert help_text(admin) == ("Only for this number. Empty: for all numbers.", False)
    assert help_text(staff_member) == (
        "One of your numbers. Replies for all numbers are kept by administrators.",
        True,
    )
