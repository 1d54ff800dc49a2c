"""The admin pages of agent profiles: drafts, versions, tools and the default."""

from collections.abc import Callable
from typing import Any

from django.test import Client
from django.urls import reverse

from accounts.models import User
from sessions_app import drafts, profiles
from sessions_app.models import AgentProfile, WhatsAppSession

LogIn = Callable[[User], Client]


def _list(model: str) -> str:
    return reverse(f"admin:sessions_app_{model}_changelist")


def _page(row: Any) -> str:
    return reverse(f"admin:sessions_app_{row._meta.model_name}_change", args=[row.pk])


def test_what_is_saved_is_a_draft_until_it_is_published(profile: AgentProfile, admin: User, log_in: LogIn) -> None:
    client = log_in(admin)
    form = client.get(_page(profile)).context["adminform"].form
    values = {name: "" if (value := form[name].value()) is None else value for name in form.fields}
    values |= {f"initial-{name}": value for name, value in values.items()}  # as the page has them, hidden
    answers = [client.post(_page(profile), values | {"purpose": purpose}) for purpose in ("Sales", "Sales")]
    profile.refresh_from_db()
    assert [answer.status_code for answer in answers] == [302, 302]
    assert (profile.purpose, profile.version, profile.draft.purpose) == ("", 1, "Sales")
    page = client.get(_page(profile))
    assert page.context["adminform"].form["purpose"].value() == "Sales"
    client.post(reverse("admin:profile-publish", args=[profile.pk]), {"message": "For  the\nshop"})
    profile.refresh_from_db()
    assert (profile.purpose, profile.version, profile.versions.first().message) == ("Sales", 2, "For the shop")


def test_why_a_draft_is_published_is_not_lost_when_it_is_refused(
    profile: AgentProfile, admin: User, log_in: LogIn
) -> None:
    client = log_in(admin)
    drafts.save_draft(profile=profile, by=admin, instructions="Be brief.")
    publish = reverse("admin:profile-publish", args=[profile.pk])
    refused = client.post(publish, {"message": 'For "the" shop', "draft_version": "77"}, follow=True).content.decode()
    assert 'value="For &quot;the&quot; shop"' in refused
    assert "For &quot;the&quot; shop" not in client.get(_page(profile)).content.decode()


def test_a_draft_is_discarded_in_the_admin(profile: AgentProfile, admin: User, log_in: LogIn) -> None:
    drafts.save_draft(profile=profile, purpose="Sales")
    client = log_in(admin)
    assert "Sales" in client.get(_page(profile)).content.decode()
    client.post(reverse("admin:profile-discard", args=[profile.pk]))
    assert client.get(_page(profile)).context["adminform"].form["purpose"].value() == ""


def test_a_version_is_shown_with_what_it_changed(profile: AgentProfile, admin: User, log_in: LogIn) -> None:
    profiles.change_profile(profile=profile, instructions="One\nTwo\n<b>Three</b>", message="first", by=admin)
    profiles.change_profile(profile=profile, instructions="One\n2\n<b>Three</b>", message="second", by=admin)
    (_, differences, _), *_ = log_in(admin).get(_page(profile)).context["versions"]
    assert [(line.sign, line.text) for line in differences[0].lines] == [
        ("", "One"), ("-", "Two"), ("+", "2"), ("", "<b>Three</b>")
    ]  # fmt: skip
    assert "<b>Three" not in log_in(admin).get(_page(profile)).content.decode()


def test_the_tools_of_a_profile_are_checkboxes(profile: AgentProfile, admin: User, log_in: LogIn) -> None:
    AgentProfile.objects.update(tools=["search", "of a command that is no more"])  # a command's name, not its tool's
    client = log_in(admin)
    form = client.get(_page(profile)).context["adminform"].form
    ticked = [box.data["value"] for box in form["tools"] if box.data["selected"]]
    values = {name: "" if (value := form[name].value()) is None else value for name in form.fields}
    refused = client.post(_page(profile), values | {"tools": ["nonsense"]})
    answer = client.post(_page(profile), values | {"tools": ["remember", "hand_off"]})
    profile.refresh_from_db()
    assert (ticked, refused.status_code, answer.status_code) == (["search_messages"], 200, 302)
    assert profile.draft.tools == ["remember", "hand_off"]


def test_an_administrator_restores_an_old_version(profile: AgentProfile, admin: User, log_in: LogIn) -> None:
    profiles.change_profile(profile=profile, instructions="Be rude.")
    client, address = log_in(admin), reverse("admin:profile-roll-back", args=[profile.pk, 1])
    page = client.get(_page(profile)).content.decode()
    client.post(address)
    changed = AgentProfile.objects.get(pk=profile.pk)
    assert address in page
    assert (changed.instructions, changed.version) == (profile.instructions, 3)


def test_a_member_cannot_restore_a_version(session: WhatsAppSession, staff_member: User, log_in: LogIn) -> None:
    profile = session.agent_profile
    profiles.change_profile(profile=profile, instructions="Be kind.")
    client, address = log_in(staff_member), reverse("admin:profile-roll-back", args=[profile.pk, 1])
    shown = address in client.get(_page(profile)).content.decode()
    assert (shown, client.post(address).status_code, client.get(address).status_code) == (False, 404, 405)
    assert AgentProfile.objects.get(pk=profile.pk).instructions == "Be kind."


def test_a_new_profile_has_a_first_version(bridges: None, admin: User, log_in: LogIn) -> None:
    client = log_in(admin)
    form = client.get(reverse("admin:sessions_app_agentprofile_add")).context["adminform"].form
    values = {name: "" if (value := form[name].value()) is None else value for name in form.fields}
    answer = client.post(reverse("admin:sessions_app_agentprofile_add"), values | {"name": "Night shift"})
    made = AgentProfile.objects.get(name="Night shift")
    assert (answer.status_code, made.versions.get().changed_by) == (302, admin)


def test_a_profile_is_not_given_a_name_that_is_taken(profile: AgentProfile, admin: User, log_in: LogIn) -> None:
    other, client = profiles.create_profile(name="Night shift"), log_in(admin)
    for page in (_page(other), reverse("admin:sessions_app_agentprofile_add")):
        form = client.get(page).context["adminform"].form
        values = {name: "" if (value := form[name].value()) is None else value for name in form.fields}
        answer = client.post(page, values | {"name": profile.name})
        assert answer.status_code == 200
        assert answer.context["adminform"].form.errors["name"] == ["A profile with this name exists already."]
    assert AgentProfile.objects.filter(name=profile.name).count() == 1


def test_making_a_profile_the_default_unsets_the_previous_one(
    profile: AgentProfile, admin: User, log_in: LogIn
) -> None:
    other = AgentProfile.objects.create(name="Other")
    log_in(admin).post(_list("agentprofile"), {"action": "make_default", "_selected_action": [str(other.pk)]})
    assert AgentProfile.objects.get(is_default=True) == other


def test_the_page_of_a_profile_leads_to_its_knowledge_and_files(
    profile: AgentProfile, admin: User, log_in: LogIn
) -> None:
    client = log_in(admin)
    page = client.get(_page(profile)).content.decode()
    for model in ("knowledge", "libraryfile"):
        address = f"{reverse(f'admin:messaging_{model}_changelist')}?agent_profile__id__exact={profile.pk}"
        assert address in page
        assert client.get(address).status_code == 200
    adding = client.get(f"{reverse('admin:messaging_knowledge_add')}?agent_profile={profile.pk}")
    assert adding.context["adminform"].form["agent_profile"].value() == str(profile.pk)


def test_the_default_profile_is_not_deleted(profile: AgentProfile, admin: User, log_in: LogIn) -> None:
    address = reverse("admin:sessions_app_agentprofile_delete", args=[profile.pk])
    assert log_in(admin).post(address, {"post": "yes"}).status_code == 403


# --- linking ------------------------------------------------------------------------------------------------------
