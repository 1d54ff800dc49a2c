"""Exporting and forgetting by the API and in the admin: for administrators alone."""

import io
from zipfile import ZipFile

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.urls import reverse

from accounts.credentials.keys import create_key
from accounts.models import User
from messaging.models import Contact, Conversation
from messaging.people.forgetting import forget_requested
from sessions_app.models import Membership
from tests.conftest import as_user, with_key
from tests.messaging.people.conftest import NAME, SECRET

pytestmark = pytest.mark.django_db(transaction=True)
V1 = "/api/v1/"


@pytest.fixture
def operator(member):
    return member


def test_an_administrator_forgets_a_person_by_the_api(person, admin):
    answer = as_user(admin).post(f"{V1}contacts/{person.pk}/forget/")
    assert (answer.status_code, answer.json()) == (202, {"contact": str(person.pk)})
    again = as_user(admin).post(f"{V1}contacts/{person.pk}/forget/")
    assert again.status_code == 202
    forget_requested()
    assert as_user(admin).get(f"{V1}contacts/{person.pk}/").status_code == 404
    (event,) = as_user(admin).get(f"{V1}events/?types=contact.forgotten").json()["results"]
    assert event["data"] | {"session": str(person.session_id), "contact": str(person.pk)} == event["data"]
    assert event["data"]["profiles_to_review"] == []
    (correction,) = event["data"]["corrections_to_review"]
    assert correction["profile"] == str(person.session.agent_profile_id)


def test_an_administrator_downloads_everything_about_a_person(person, admin):
    answer = as_user(admin).get(f"{V1}contacts/{person.pk}/export/", HTTP_ACCEPT="application/zip")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    with ZipFile(io.BytesIO(b"".join(answer.streaming_content))) as archive:
        assert {"contact.json", "conversation.json", "conversation.html", "groups.json"} <= set(archive.namelist())


@pytest.mark.parametrize(("format", "name"), [("", "html"), ("json", "json"), ("text", "txt")])
def test_an_administrator_downloads_a_conversation(person, admin, format, name):
    conversation = Conversation.objects.get(contact=person)
    query = f"?format={format}" if format else ""
    answer = as_user(admin).get(f"{V1}conversations/{conversation.pk}/export/{query}")
    assert answer.status_code == 200, answer.content
    with ZipFile(io.BytesIO(b"".join(answer.streaming_content))) as archive:
        assert SECRET.split("'")[0] in archive.read(f"conversation.{name}").decode()


def test_an_unknown_format_is_refused(person, admin):
    conversation = Conversation.objects.get(contact=person)
    answer = as_user(admin).get(f"{V1}conversations/{conversation.pk}/export/?format=exe")
    assert answer.status_code == 400


@pytest.mark.parametrize("call", ["forget", "export"])
def test_operators_and_strangers_neither_forget_nor_export(person, operator, stranger, call):
    method = "post" if call == "forget" else "get"
    path = f"{V1}contacts/{person.pk}/{call}/"
    assert getattr(as_user(operator), method)(path).status_code == 403
    assert getattr(as_user(stranger), method)(path).status_code == 404
    assert getattr(as_user(), method)(path).status_code == 401
    assert Contact.objects.get(pk=person.pk).forget_requested_at is None


def test_an_api_key_needs_the_scope(person, admin):
    _, reads = create_key(user=admin, name="reads", scopes=["messages:read"])
    _, manages = create_key(user=admin, name="manages", scopes=["sessions:manage"])
    path = f"{V1}contacts/{person.pk}/"
    assert with_key(reads).post(f"{path}forget/").status_code == 403
    assert with_key(manages).get(f"{path}export/").status_code == 403
    assert with_key(reads).get(f"{path}export/").status_code == 200
    assert with_key(manages).post(f"{path}forget/").status_code == 202


def test_an_administrator_forgets_a_person_in_the_admin_after_a_question(person, admin, log_in):
    client, path = log_in(admin), reverse("admin:contact-forget", args=[person.pk])
    page = client.get(reverse("admin:messaging_contact_change", args=[person.pk])).content.decode()
    assert path in page
    asked = client.get(path).content.decode()
    assert "2 messages" in asked
    assert Contact.objects.get(pk=person.pk).forget_requested_at is None
    assert client.post(path).status_code == 302
    assert Contact.objects.get(pk=person.pk).forget_requested_at is not None
    forget_requested()
    assert NAME not in client.get(reverse("admin:messaging_contact_changelist")).content.decode()


def test_an_administrator_exports_a_person_in_the_admin(person, admin, log_in):
    answer = log_in(admin).get(reverse("admin:contact-export", args=[person.pk]))
    assert ZipFile(io.BytesIO(b"".join(answer.streaming_content))).testzip() is None
    logged = LogEntry.objects.get(change_message="Exported everything.")
    assert (logged.user, logged.object_id) == (admin, str(person.pk))


@pytest.mark.parametrize(("format", "name"), [("html", "html"), ("json", "json"), ("text", "txt")])
def test_an_administrator_exports_a_conversation_in_the_admin(person, admin, log_in, format, name):
    conversation, client = Conversation.objects.get(contact=person), log_in(admin)
    path = reverse("admin:conversation-export", args=[conversation.pk, format])
    assert path in client.get(reverse("admin:messaging_conversation_change", args=[conversation.pk])).content.decode()
    answer = client.get(path)
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    with ZipFile(io.BytesIO(b"".join(answer.streaming_content))) as archive:
        assert SECRET.split("'")[0] in archive.read(f"conversation.{name}").decode()
    logged = LogEntry.objects.get(change_message=f"Exported the conversation ({format}).")
    assert (logged.user, logged.object_id) == (admin, str(conversation.pk))


def test_an_unknown_format_of_a_conversation_is_not_found_in_the_admin(person, admin, log_in):
    conversation = Conversation.objects.get(contact=person)
    assert log_in(admin).get(reverse("admin:conversation-export", args=[conversation.pk, "exe"])).status_code == 404


def test_staff_who_are_no_administrators_export_no_conversation_in_the_admin(person, session, log_in):
    conversation = Conversation.objects.get(contact=person)
    path = reverse("admin:conversation-export", args=[conversation.pk, "json"])
    change = reverse("admin:messaging_conversation_change", args=[conversation.pk])
    for name, is_member, status in (("inside", True, 403), ("outside", False, 404)):
        user = User.objects.create_user(name, password="a long password 1", is_staff=True)
        user.groups.add(Group.objects.get_or_create(name="operator")[0])
        if is_member:
            Membership.objects.create(session=session, user=user)
        assert log_in(user).get(path).status_code == status
        assert not LogEntry.objects.filter(user=user).exists()
        assert "/export/" not in log_in(user).get(change).content.decode()


@pytest.mark.parametrize("page", ["contact-forget", "contact-export"])
def test_staff_who_are_no_administrators_find_no_such_page(person, session, log_in, page):
    for name, is_member, status in (("inside", True, 403), ("outside", False, 404)):
        user = User.objects.create_user(name, password="a long password 1", is_staff=True)
        user.groups.add(Group.objects.get_or_create(name="operator")[0])
        if is_member:
            Membership.objects.create(session=session, user=user)
        path = reverse(f"admin:{page}", args=[person.pk])
        assert log_in(user).get(path).status_code == status
        assert log_in(user).post(path).status_code in {status, 405}
        change = log_in(user).get(reverse("admin:messaging_contact_change", args=[person.pk]))
        assert path not in change.content.decode()
    assert Contact.objects.get(pk=person.pk).forget_requested_at is None
