"""What services refuse is said on the admin page, with what was typed still there."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from accounts.models import User
from messaging.knowledge import entries as knowledge
from messaging.library import entries as library
from messaging.models import Knowledge, LibraryFile, SavedReply
from messaging.teamwork import saved_replies
from sessions_app.models import AgentProfile
from tests.support.messaging.admin import LogIn, page_url


def errors_of(answer: Any) -> dict[str, list[str]]:
    assert answer.status_code == 200
    return dict(answer.context["adminform"].form.errors)


def file_of(profile: AgentProfile, name: str) -> dict[str, Any]:
    upload = SimpleUploadedFile("a.csv", b"a,b")
    return {"agent_profile": str(profile.pk), "name": name, "description": "", "upload": upload}


@pytest.fixture
def profile(session: Any) -> AgentProfile:
    found: AgentProfile = session.agent_profile
    return found


def test_a_saved_reply_is_not_renamed_to_a_shortcut_that_is_taken(admin: User, log_in: LogIn) -> None:
    for shortcut in ("hours", "prices"):
        reply = saved_replies.create_reply(by=admin, session=None, shortcut=shortcut, text="x")
    answer = log_in(admin).post(page_url(reply), {"shortcut": "HOURS", "text": "Typed"})
    assert errors_of(answer) == {"shortcut": ["This shortcut is taken."]}
    assert answer.context["adminform"].form["text"].value() == "Typed"
    assert list(SavedReply.objects.values_list("shortcut", "text").order_by("shortcut")) == [
        ("hours", "x"), ("prices", "x"),
    ]  # fmt: skip


def test_a_name_that_another_file_has_is_refused(admin: User, log_in: LogIn, profile: AgentProfile) -> None:
    client, add = log_in(admin), reverse("admin:messaging_libraryfile_add")
    assert [client.post(add, file_of(profile, name)).status_code for name in ("menu", "prices")] == [302, 302]
    expected = {"name": ["A file of this profile has this name already."]}
    assert errors_of(client.post(add, file_of(profile, "Menu"))) == expected
    prices = LibraryFile.objects.get(name="prices")
    assert errors_of(client.post(page_url(prices), {"name": "MENU", "description": ""})) == expected
    assert sorted(LibraryFile.objects.values_list("name", flat=True)) == ["menu", "prices"]


def test_one_file_too_many_is_refused(
    admin: User, log_in: LogIn, profile: AgentProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "MAX_FILES", 1)
    client, add = log_in(admin), reverse("admin:messaging_libraryfile_add")
    assert client.post(add, file_of(profile, "menu")).status_code == 302
    assert errors_of(client.post(add, file_of(profile, "prices"))) == {"__all__": ["A profile may have 1 files."]}
    assert LibraryFile.objects.count() == 1


def test_a_text_that_is_too_much_for_its_profile_is_refused(
    admin: User, log_in: LogIn, profile: AgentProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knowledge, "MAX_PARTS", 0)
    values = {"agent_profile": str(profile.pk), "kind": "answer", "title": "Hours", "text": "Nine.", "is_enabled": "on"}
    answer = log_in(admin).post(reverse("admin:messaging_knowledge_add"), values)
    (error,) = errors_of(answer)["__all__"]
    assert ("All texts of a profile together" in error, Knowledge.objects.count()) == (True, 0)
