"""Drafts of agent profiles: nobody is answered by one until it is published."""

import pytest

from messaging.history.conversation import load_conversation
from sessions_app import drafts, profiles
from sessions_app.models import AgentProfile
from tests.conftest import as_user
from tests.support.messaging.api import V1, get, post
from whatsapp_agent.errors import Conflict


@pytest.fixture
def path(profile):
    return f"agents/{profile.pk}/"


@pytest.fixture
def client(admin):
    return as_user(admin)


def patch(client, path, **body):
    return client.patch(V1 + path, body, format="json")


def test_a_draft_changes_nothing_until_it_is_published(client, path, profile, conversation, admin):
    saved = patch(client, f"{path}draft/", instructions="Be brief.", temperature=0.5).json()
    assert [change["field"] for change in saved["changes"]] == ["instructions", "temperature"]
    assert saved["changes"][0]["before"] == profile.instructions
    assert load_conversation(conversation.pk).session.agent_profile.instructions == profile.instructions
    published = post(client, f"{path}publish/", message="Shorter answers").json()
    assert (published["instructions"], published["version"]) == ("Be brief.", profile.version + 1)
    assert load_conversation(conversation.pk).session.agent_profile.instructions == "Be brief."
    newest = get(client, f"{path}versions/")["results"][0]
    assert (newest["message"], newest["changed_by"]) == ("Shorter answers", "admin")
    assert [change["field"] for change in newest["changes"]][:2] == ["instructions", "temperature"]
    assert get(client, f"{path}draft/")["changes"] == []


def test_a_draft_is_no_profile_of_the_list_and_cannot_be_used_by_a_session(client, path, profile, session):
    draft = drafts.save_draft(profile=profile, purpose="new")
    assert [row["id"] for row in get(client, "agents/")["results"]] == [str(profile.pk)]
    assert client.get(f"{V1}agents/{draft.pk}/").status_code == 404
    assert patch(client, f"sessions/{session.pk}/", agent_profile=str(draft.pk)).status_code == 400


def test_a_draft_is_discarded(client, path, profile):
    patch(client, f"{path}draft/", purpose="new")
    assert client.delete(f"{V1}{path}draft/").status_code == 204
    assert (get(client, f"{path}draft/")["changes"], profile.purpose) == ([], "")


def test_publishing_without_a_difference_is_refused(client, path):
    answer = post(client, f"{path}publish/")
    assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_publish")


def test_a_draft_that_somebody_changed_meanwhile_is_not_published_unseen(client, path, profile, admin):
    seen = patch(client, f"{path}draft/", purpose="mine").json()["version"]
    drafts.save_draft(profile=profile, by=admin, purpose="yours")
    assert post(client, f"{path}publish/", draft_version=seen).status_code == 409
    profile.refresh_from_db()
    assert profile.purpose == ""


def test_publishing_keeps_what_was_changed_live_meanwhile(client, path, profile):
    patch(client, f"{path}draft/", purpose="mine")
    patch(client, path, instructions="Live.", name="Rosa")
    assert [change["field"] for change in get(client, f"{path}draft/")["changes"]] == ["purpose"]
    published = post(client, f"{path}publish/").json()
    assert (published["purpose"], published["instructions"], published["name"]) == ("mine", "Live.", "Rosa")


@pytest.mark.parametrize(
    "body", [{"name": "x"}, {"is_default": False}, {"debounce_s": 9, "debounce_max_s": 1}, {"tools": ["no_such"]}]
)
def test_a_draft_takes_what_a_profile_takes_but_its_name(client, path, body):
    assert patch(client, f"{path}draft/", **body).status_code == 400


def test_only_administrators_write_drafts_and_members_see_them(member, stranger, path, profile, session):
    drafts.save_draft(profile=profile, purpose="new")
    client = as_user(member)
    assert get(client, f"{path}draft/")["purpose"] == "new"
    assert patch(client, f"{path}draft/", purpose="mine").status_code == 403
    assert post(client, f"{path}publish/").status_code == 403
    for call in (as_user(stranger).get, as_user(stranger).patch, as_user(stranger).delete):
        assert call(f"{V1}{path}draft/").status_code == 404


def test_an_old_version_is_restored_with_a_message_and_the_draft_stays(client, path, profile):
    patch(client, path, instructions="Second.")
    patch(client, f"{path}draft/", purpose="mine")
    post(client, f"{path}rollback/", version=profile.version, message="It was better")
    newest = get(client, f"{path}versions/")["results"][0]
    assert (newest["message"], newest["values"]["instructions"]) == ("It was better", profile.instructions)
    assert get(client, f"{path}draft/")["purpose"] == "mine"


def test_two_profiles_may_not_have_one_name(profile):
    with pytest.raises(Conflict):
        profiles.create_profile(name=profile.name)
    assert AgentProfile.objects.live().count() == 1


def test_a_profile_is_deleted_with_its_draft_and_the_sessions_that_test_it(profile, simulator):
    other = profiles.create_profile(name="Other")
    draft = drafts.save_draft(profile=other, purpose="new")
    session = simulator.sessions.create(name="try", agent_profile=draft)
    profiles.delete_profile(other)
    session.refresh_from_db()
    assert (session.agent_profile, session.ended_at is None) == (profile, False)
    assert AgentProfile.objects.count() == 1
