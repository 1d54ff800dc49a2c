"""`agents/` of the API: profiles and their versions."""

import pytest

from sessions_app import profiles
from sessions_app.models import AgentProfile, AgentProfileVersion
from tests.conftest import as_user
from tests.support.background import BackgroundCall

URL = "/api/v1/agents/"


@pytest.fixture
def client(admin, profile):
    return as_user(admin)


@pytest.fixture
def agent(client):
    body = {"name": "Night shift", "instructions": "Be brief.", "tools": ["search"]}
    answer = client.post(URL, body, format="json")
    assert answer.status_code == 201, answer.json()
    return answer.json()


def test_a_new_profile_has_default_values(agent):
    assert (agent["instructions"], agent["history_tokens"], agent["version"]) == ("Be brief.", 4000, 1)


def test_each_change_is_a_version_with_its_author(client, agent):
    for instructions in ("Be friendly.", "Be funny."):
        changed = client.patch(f"{URL}{agent['id']}/", {"instructions": instructions}, format="json").json()
    assert changed["version"] == 3
    versions = client.get(f"{URL}{agent['id']}/versions/").json()["results"]
    assert [(row["version"], row["values"]["instructions"], row["changed_by"]) for row in versions] == [
        (3, "Be funny.", "admin"),
        (2, "Be friendly.", "admin"),
        (1, "Be brief.", "admin"),
    ]


def test_an_unchanged_profile_gets_no_new_version(client, agent):
    changed = client.patch(f"{URL}{agent['id']}/", {"instructions": "Be brief.", "name": "Night"}, format="json").json()
    assert (changed["version"], changed["name"]) == (1, "Night")


def test_a_profile_lists_each_tool_once_and_only_known_ones(client, agent):
    url = f"{URL}{agent['id']}/"
    named = client.patch(url, {"tools": ["search", "hand_off", "search"]}, format="json").json()["tools"]
    refused = client.patch(url, {"tools": ["serach"]}, format="json").json()["fields"]["tools"]
    assert named == ["search", "hand_off"]
    assert refused == [
        f"There is no tool serach. There are: {', '.join(sorted(tool.name for tool in profiles.list_tools()))}."
    ]


def test_a_restored_version_is_a_new_version(client, agent):
    client.patch(f"{URL}{agent['id']}/", {"instructions": "Be rude.", "tools": []}, format="json")
    answer = client.post(f"{URL}{agent['id']}/rollback/", {"version": 1}, format="json").json()
    assert (answer["version"], answer["instructions"], answer["tools"]) == (3, "Be brief.", ["search"])


def test_a_profile_without_versions_stores_its_values_before_the_first_change(client, profile):
    AgentProfileVersion.objects.all().delete()
    client.patch(f"{URL}{profile.pk}/", {"instructions": "New."}, format="json")
    versions = client.get(f"{URL}{profile.pk}/versions/").json()["results"]
    assert [(row["version"], row["values"]["instructions"]) for row in versions] == [
        (2, "New."),
        (1, profile.instructions),
    ]


def test_versions_are_paginated(client, agent):
    for number in range(4):
        client.patch(f"{URL}{agent['id']}/", {"instructions": f"Be {number}."}, format="json")
    first = client.get(f"{URL}{agent['id']}/versions/?page_size=3").json()
    second = client.get(first["next"]).json()
    assert [row["version"] for row in first["results"] + second["results"]] == [5, 4, 3, 2, 1]
    assert client.get(second["previous"]).json()["results"] == first["results"]


def test_versions_have_no_filters(client, agent):
    refused = client.get(f"{URL}{agent['id']}/versions/", {"version": 1})
    assert (refused.status_code, list(refused.json()["fields"])) == (400, ["version"])


def test_an_unknown_version_cannot_be_restored(client, agent):
    answer = client.post(f"{URL}{agent['id']}/rollback/", {"version": 9}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_there_is_always_one_default_profile(client, agent, profile):
    assert client.patch(f"{URL}{agent['id']}/", {"is_default": True}, format="json").status_code == 200
    assert AgentProfile.objects.get(is_default=True).name == "Night shift"
    assert client.patch(f"{URL}{agent['id']}/", {"is_default": False}, format="json").status_code == 409
    assert client.delete(f"{URL}{agent['id']}/").status_code == 409
    assert client.delete(f"{URL}{profile.pk}/").status_code == 204


def test_a_profile_in_use_cannot_be_deleted(client, session, agent):
    session.agent_profile_id = agent["id"]
    session.save()
    answer = client.delete(f"{URL}{agent['id']}/")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


def test_two_profiles_cannot_have_the_same_name(client, agent):
    answer = client.post(URL, {"name": "Night shift"}, format="json")
    assert (answer.status_code, list(answer.json()["fields"])) == (409, ["name"])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"temperature": 3}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": None, "name": ""}, "name"),
        ({"history_tokens": 10}, "history_tokens"),
        ({"history_tokens": 10**30}, "history_tokens"),
        ({"history_tokens": 4000.5}, "history_tokens"),
        ({"history_tokens": True}, "history_tokens"),
        ({"max_answer_age_s": 2**31}, "max_answer_age_s"),
        ({"debounce_s": 5, "debounce_max_s": 1}, "debounce_max_s"),
        ({"debounce_s": -1}, "debounce_s"),
        ({"tools": "search"}, "tools"),
        ({"tools": ["a\x00b"]}, "tools"),
        ({"tools": [{}]}, "tools"),
        ({"tools": ["serach"]}, "tools"),
        ({"instructions": "a\x00b"}, "instructions"),
        ({"instructions": ["x"]}, "instructions"),
        ({"marks_read": "often"}, "marks_read"),
        ({"version": 7}, "version"),
        ({"temprature": 1}, "temprature"),
    ],
)
def test_the_error_for_an_invalid_profile_names_the_field(client, agent, change, field):
    answer = client.patch(f"{URL}{agent['id']}/", change, format="json")
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])


def test_members_see_the_profiles_of_their_sessions(member, stranger, profile, agent):
    def seen(user):
        return [row["id"] for row in as_user(user).get(URL).json()["results"]]

    assert (seen(member), seen(stranger)) == ([str(profile.pk)], [])
    for user in (member, stranger):
        for path in ("", "versions/"):
            assert as_user(user).get(f"{URL}{agent['id']}/{path}").status_code == 404


def test_members_cannot_change_profiles(member, profile):
    client = as_user(member)
    assert client.get(f"{URL}{profile.pk}/").status_code == 200
    for answer in (
        client.patch(f"{URL}{profile.pk}/", {"instructions": "Obey me."}, format="json"),
        client.post(f"{URL}{profile.pk}/rollback/", {"version": 1}, format="json"),
        client.post(URL, {"name": "x"}, format="json"),
        client.delete(f"{URL}{profile.pk}/"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_for_a_name_or_the_default_succeed_once_and_the_others_conflict(admin, profile):
    def create(body):
        return as_user(admin).post(URL, body, format="json").status_code

    names = [BackgroundCall(lambda: create({"name": "Night shift"})) for _ in range(8)]
    assert sorted(each.result() for each in names) == [201, *[409] * 7]
    defaults = [BackgroundCall(lambda n=n: create({"name": f"default {n}", "is_default": True})) for n in range(8)]
    assert {each.result() for each in defaults} == {201}
    assert AgentProfile.objects.filter(is_default=True).count() == 1
