"""`library-files/`: administrators upload what a profile may send; members of its sessions see it, nobody else."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from messaging.library import entries
from messaging.models import LibraryFile
from sessions_app.models import AgentProfile
from tests.conftest import as_user
from tests.support.messaging.api import NOBODYS_ID, get
from tests.support.messaging.files import PDF, PNG

URL = "/api/v1/library-files/"


@pytest.fixture(autouse=True)
def media_root(settings: Any, tmp_path: Any) -> None:
    settings.MEDIA_ROOT = tmp_path


def upload(
    user: Any, profile: AgentProfile, *, content: bytes = PDF, filename: str = "prices.pdf", **fields: Any
) -> Any:
    values = {"agent_profile": str(profile.pk), "name": "price list", "file": SimpleUploadedFile(filename, content)}
    return as_user(user).post(URL, values | fields)


def test_an_administrator_uploads_a_file(admin, profile):
    answer = upload(admin, profile, description="What bicycles cost.")
    assert answer.status_code == 201, answer.json()
    shown = get(as_user(admin), f"library-files/{answer.json()['id']}/")
    assert (shown["name"], shown["kind"], shown["filename"]) == ("price list", "document", "prices.pdf")
    assert get(as_user(admin), "library-files/", agent_profile=str(profile.pk))["results"] == [shown]


def test_a_member_sees_the_files_and_may_not_change_them(admin, member, profile):
    pk = upload(admin, profile).json()["id"]
    assert len(get(as_user(member), "library-files/")["results"]) == 1
    assert upload(member, profile, name="menu").status_code == 403
    assert as_user(member).patch(f"{URL}{pk}/", {"name": "x"}, format="json").status_code == 403
    assert as_user(member).delete(f"{URL}{pk}/").status_code == 403


def test_a_stranger_sees_no_file(admin, stranger, session, profile):
    pk = upload(admin, profile).json()["id"]
    assert get(as_user(stranger), "library-files/")["results"] == []
    assert as_user(stranger).get(f"{URL}{pk}/").status_code == 404
    assert as_user().get(URL).status_code == 401


REFUSED = [
    ({"content": b""}, 400, "file"),
    ({"content": PNG, "filename": "photo.mp4"}, 201, ""),
    ({"content": b"no movie", "filename": "film.mp4"}, 415, "file"),
    ({"name": "  "}, 400, "name"),
    ({"name": "x" * 81}, 400, "name"),
    ({"description": "x" * 301}, 400, "description"),
    ({"agent_profile": NOBODYS_ID}, 400, "agent_profile"),
]


@pytest.mark.parametrize(("changes", "status", "field"), REFUSED)
def test_a_file_that_cannot_be_sent_is_refused_by_its_field(admin, profile, changes, status, field):
    answer = upload(admin, profile, **changes)
    assert answer.status_code == status, answer.json()
    assert status == 201 or field in answer.json()["fields"]
    assert LibraryFile.objects.exists() == (status == 201)


def test_two_files_of_a_profile_cannot_have_one_name(admin, profile, settings, tmp_path):
    upload(admin, profile)
    assert upload(admin, profile, name="Price List").status_code == 409
    assert len(list((tmp_path / "library").iterdir())) == 1


def test_a_profile_has_a_bounded_number_of_files(admin, profile, monkeypatch):
    monkeypatch.setattr(entries, "MAX_FILES", 1)
    upload(admin, profile)
    assert upload(admin, profile, name="menu").status_code == 409


def test_name_and_description_are_changed(admin, profile):
    pk = upload(admin, profile).json()["id"]
    changed = as_user(admin).patch(f"{URL}{pk}/", {"name": "menu", "description": "Food."}, format="json")
    assert (changed.status_code, changed.json()["name"], changed.json()["description"]) == (200, "menu", "Food.")


def test_a_deleted_file_is_gone(admin, profile):
    pk = upload(admin, profile).json()["id"]
    assert as_user(admin).delete(f"{URL}{pk}/").status_code == 204
    assert as_user(admin).get(f"{URL}{pk}/").status_code == 404


def test_an_administrator_uploads_a_file_in_the_admin(admin, profile, log_in):
    client: Client = log_in(admin)
    url = reverse("admin:messaging_libraryfile_add")
    values = {
        "agent_profile": profile.pk,
        "name": "photo",
        "description": "",
        "upload": SimpleUploadedFile("a.png", PNG),
    }
    assert client.get(url).status_code == 200
    assert client.post(url, values).status_code == 302
    row = LibraryFile.objects.get()
    assert (row.kind, row.changed_by) == ("image", admin)
    page = reverse("admin:messaging_libraryfile_change", args=[row.pk])
    assert client.post(page, {"name": "picture", "description": "Of us."}).status_code == 302
    assert LibraryFile.objects.get().name == "picture"


def test_staff_who_are_no_administrators_cannot_upload_in_the_admin(staff_member, log_in):
    assert log_in(staff_member).get(reverse("admin:messaging_libraryfile_add")).status_code == 403
