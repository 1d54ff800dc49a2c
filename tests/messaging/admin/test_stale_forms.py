"""Two people at one form: the second is told what the first has saved, and nobody's words are lost."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from accounts.models import User
from messaging.knowledge import entries as knowledge
from messaging.models import Knowledge, LibraryFile, SavedReply
from messaging.teamwork import saved_replies
from sessions_app import bridges, drafts, profiles
from sessions_app.models import AgentProfile, Bridge, Membership, WhatsAppSession
from tests.support.messaging.admin import LogIn


def page_url(row: Any) -> str:
    return reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_change", args=[row.pk])


def open_form(client: Client, row: Any) -> dict[str, Any]:
    """Return what a browser would send of the page as it is opened."""
    return values_of(client.get(page_url(row)))


def values_of(page: Any) -> dict[str, Any]:
    adminform = page.context["adminform"].form
    formsets = [inline.formset for inline in page.context["inline_admin_formsets"]]
    assert adminform.seen.replace('"', "&quot;") in page.content.decode()
    values = {"seen": adminform.seen}
    for form in (
        adminform,
        *(each.management_form for each in formsets),
        *(each for group in formsets for each in group),
    ):
        values |= {form.add_prefix(name): form[name].value() for name in form.fields}
    return {name: "" if value is None else value for name, value in values.items() if value is not False}


def a_reply(admin: User, session: WhatsAppSession) -> SavedReply:
    return saved_replies.create_reply(by=admin, session=session, shortcut="hours", text="Nine to five")


def an_entry(admin: User, session: WhatsAppSession) -> Knowledge:
    return knowledge.create_knowledge(agent_profile=session.agent_profile, title="Open?", text="Nine to five", by=admin)


def a_file(admin: User, session: WhatsAppSession) -> LibraryFile:
    return LibraryFile.objects.create(agent_profile=session.agent_profile, name="menu", description="x", size_bytes=1)


def a_bridge(admin: User, session: WhatsAppSession) -> Bridge:
    return bridges.create_bridge(slug="second", kind="waha", base_url="http://127.0.0.1:3000", api_key="first key")


def a_session(admin: User, session: WhatsAppSession) -> WhatsAppSession:
    return session


def a_profile(admin: User, session: WhatsAppSession) -> AgentProfile:
    return session.agent_profile


def a_user(admin: User, session: WhatsAppSession) -> User:
    return User.objects.create_user("paul", password="a long password 2")


def a_second_profile(admin: User, session: WhatsAppSession) -> AgentProfile:
    return profiles.create_profile(name="Night shift", by=admin)


PAGES = [
    (a_reply, "text", "Nine to six", "Nine to seven"),
    (an_entry, "text", "Nine to six", "Nine to\r\nseven"),
    (a_file, "description", "Drinks", "Food"),
    (a_bridge, "base_url", "http://127.0.0.1:3001", "http://127.0.0.1:3002"),
    (a_bridge, "api_key", "second key", "third key"),
    (a_session, "owner_phone", "+5511988887777", "+5511988886666"),
    (a_session, "access_policy", "listed", "nobody"),
    (a_profile, "instructions", "Be kind.", "Be brief."),
    (a_user, "first_name", "Paul", "Paula"),
]


@pytest.mark.parametrize(("make", "field", "first", "second"), PAGES)
def test_the_second_of_two_people_at_one_form_is_refused_and_overwrites_nothing(
    make: Callable[..., Any], field: str, first: str, second: str, admin: User, session: WhatsAppSession, log_in: LogIn
) -> None:
    row, colleague = make(admin, session), User.objects.create_superuser("boss", password="a long password 3")
    one, two = log_in(admin), log_in(colleague)
    theirs, mine = open_form(one, row), open_form(two, row)
    assert one.post(page_url(row), theirs | {field: first}).status_code == 302
    stored = open_form(one, row)
    refused = two.post(page_url(row), mine | {field: second})
    assert open_form(one, row) == stored
    assert refused.status_code == 200
    assert "Nothing was saved: somebody else" in refused.content.decode()
    assert refused.context["adminform"].form[field].value() == second
    again = two.post(page_url(row), values_of(refused) | {field: second})
    assert again.status_code == 302
    assert open_form(one, row)["seen"] != stored["seen"]


@pytest.mark.parametrize(("make", "field", "typed"), [
    (a_reply, "text", "Nine to six, </textarea><script>"), (an_entry, "text", "Nine to\nseven"),
    (a_file, "description", "Drinks"), (a_bridge, "base_url", "http://127.0.0.1:3001"),
    (a_user, "first_name", "Paul"), (a_second_profile, "instructions", "Be kind."),
])  # fmt: skip
def test_what_was_typed_in_the_form_of_a_row_that_was_deleted_meanwhile_is_shown_again(
    make: Callable[..., Any], field: str, typed: str, admin: User, session: WhatsAppSession, log_in: LogIn
) -> None:
    row, client = make(admin, session), log_in(admin)
    address, form = page_url(row), open_form(client, row)
    row.delete()
    answer = client.post(address, form | {field: typed})
    page = answer.content.decode()
    assert (answer.status_code, "it has been deleted meanwhile" in page) == (404, True)
    assert f"\n{escape(typed)}</textarea>" in page
    assert not type(row)._base_manager.filter(pk=form.get("id", row.pk)).exists()


def test_a_key_that_was_typed_is_not_shown_when_its_row_is_gone(
    admin: User, session: WhatsAppSession, log_in: LogIn
) -> None:
    row, client = a_bridge(admin, session), log_in(admin)
    address, form = page_url(row), open_form(client, row)
    row.delete()
    assert "a hidden key" not in client.post(address, form | {"api_key": "a hidden key"}).content.decode()


def test_the_form_of_a_row_that_is_not_theirs_looks_to_others_as_if_it_was_deleted(
    admin: User, staff_member: User, session: WhatsAppSession, log_in: LogIn
) -> None:
    row = a_reply(admin, session)
    form, client = open_form(log_in(admin), row), log_in(staff_member)
    Membership.objects.filter(user=staff_member).delete()
    answer = client.post(page_url(row), form | {"text": "Mine"})
    row.refresh_from_db()
    assert (answer.status_code, row.text, "Nine to five" in answer.content.decode()) == (404, "Nine to five", False)


def test_what_the_second_person_did_not_touch_shows_what_the_first_saved(
    admin: User, session: WhatsAppSession, log_in: LogIn
) -> None:
    row, client = an_entry(admin, session), log_in(admin)
    theirs, mine = open_form(client, row), open_form(client, row)
    del theirs["is_enabled"]
    client.post(page_url(row), theirs | {"text": "Nine to six"})
    refused = client.post(page_url(row), mine | {"title": "When are you open?"})
    form = refused.context["adminform"].form
    assert refused.status_code == 200
    assert (form["title"].value(), form["text"].value()) == ("When are you open?", "Nine to six")
    assert (bool(form["is_enabled"].value()), form.errors.keys()) == (False, {"__all__"})
    client.post(page_url(row), values_of(refused))
    row.refresh_from_db()
    assert (row.title, row.text, row.is_enabled) == ("When are you open?", "Nine to six", False)


def test_a_zero_that_a_colleague_saved_meanwhile_is_shown_and_stays(
    profile: AgentProfile, admin: User, log_in: LogIn
) -> None:
    client = log_in(admin)
    mine = open_form(client, profile)
    drafts.save_draft(profile=profile, temperature=0.0)
    refused = client.post(page_url(profile), mine | {"purpose": "Sales"})
    assert refused.context["adminform"].form["temperature"].value() == "0.0"
    client.post(page_url(profile), values_of(refused))
    draft = drafts.ensure_draft(profile)
    assert (draft.temperature, draft.purpose) == (0, "Sales")


def test_a_draft_that_a_colleague_saved_meanwhile_is_not_overwritten(
    profile: AgentProfile, admin: User, log_in: LogIn
) -> None:
    client = log_in(admin)
    mine = open_form(client, profile)
    drafts.save_draft(profile=profile, instructions="Be kind.")
    refused = client.post(page_url(profile), mine | {"instructions": "Be brief."})
    assert "Somebody else has changed this meanwhile to: Be kind." in refused.content.decode()
    assert drafts.ensure_draft(profile).instructions == "Be kind."


def test_a_draft_that_a_colleague_changed_meanwhile_is_not_discarded(
    profile: AgentProfile, admin: User, log_in: LogIn
) -> None:
    draft, client = drafts.save_draft(profile=profile, by=admin, purpose="Sales"), log_in(admin)
    url, seen = reverse("admin:profile-discard", args=[profile.pk]), {"draft_version": str(draft.version)}
    assert f'name="draft_version" value="{draft.version}"' in client.get(page_url(profile)).content.decode()
    drafts.save_draft(profile=profile, instructions="Be kind.")
    refused = client.post(url, seen, follow=True).content.decode()
    assert "The draft was changed meanwhile. Review it, then discard it." in refused
    assert drafts.ensure_draft(profile).purpose == "Sales"


def test_a_version_is_not_restored_over_one_that_a_colleague_published_meanwhile(
    profile: AgentProfile, admin: User, log_in: LogIn
) -> None:
    profiles.change_profile(profile=profile, instructions="Be brief.")
    url, client = reverse("admin:profile-roll-back", args=[profile.pk, 1]), log_in(admin)
    assert 'name="live_version" value="2"' in client.get(page_url(profile)).content.decode()
    profiles.change_profile(profile=profile, instructions="Be kind.")
    refused = client.post(url, {"live_version": "2"}, follow=True).content.decode()
    assert "The profile was changed meanwhile." in refused
    assert AgentProfile.objects.get(pk=profile.pk).instructions == "Be kind."


def test_a_form_that_nobody_else_changed_is_saved(admin: User, session: WhatsAppSession, log_in: LogIn) -> None:
    row, client = an_entry(admin, session), log_in(admin)
    mine = open_form(client, row)
    session.status = "disconnected"  # what the bridge changes is nobody's typing
    session.save()
    assert client.post(page_url(row), mine | {"text": "Nine\r\nto six"}).status_code == 302
    assert client.post(page_url(row), open_form(client, row) | {"text": "Nine\r\nto six"}).status_code == 302


@pytest.mark.parametrize("seen", ["", "nonsense", "[]", "7", json.dumps({"nothing": "x", "text": 7})])
def test_a_form_that_does_not_say_what_it_has_seen_is_never_an_error(
    seen: str, admin: User, session: WhatsAppSession, log_in: LogIn
) -> None:
    row, client = a_reply(admin, session), log_in(admin)
    answer = client.post(page_url(row), {"shortcut": "hours", "text": "Nine to six", "seen": seen})
    assert answer.status_code in {200, 302}


def test_the_page_of_a_bridge_shows_no_key_that_a_colleague_has_set(
    admin: User, session: WhatsAppSession, log_in: LogIn
) -> None:
    row, client = a_bridge(admin, session), log_in(admin)
    theirs, mine = open_form(client, row), open_form(client, row)
    client.post(page_url(row), theirs | {"api_key": "second key"})
    refused = client.post(page_url(row), mine | {"api_key": "third key"}).content.decode()
    assert "Somebody else has changed this meanwhile." in refused
    assert not any(key in refused for key in ("first key", "second key"))


def test_two_changes_of_different_fields_by_the_services_keep_both(admin: User, session: WhatsAppSession) -> None:
    entry, reply = an_entry(admin, session), a_reply(admin, session)
    stale = Knowledge.objects.get(pk=entry.pk), SavedReply.objects.get(pk=reply.pk)
    knowledge.change_knowledge(entry, title="When?")
    knowledge.change_knowledge(stale[0], text="At nine")
    saved_replies.change_reply(reply, by=admin, shortcut="open")
    saved_replies.change_reply(stale[1], by=admin, text="At nine")
    entry.refresh_from_db()
    reply.refresh_from_db()
    assert (entry.title, entry.text) == ("When?", "At nine")
    assert (reply.shortcut, reply.text) == ("open", "At nine")
