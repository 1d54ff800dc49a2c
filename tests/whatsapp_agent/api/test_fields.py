"""Fields of requests: names of one line, and times as RFC 3339 has them."""

from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import ApiKey
from messaging.models import Contact
from tests.conftest import as_user

V1 = "/api/v1/"
NOT_SINGLE_LINE = [
    "a\nb",
    "a\r\nb",
    "a\u2028b",
    "a\u2029b",
    "a\x85b",
    "a\x1bb",
    "a\u202eb",
    "a\u2066b",
    "a\u200fb",
    "a\x7f",
    "a\u200bb",
    "\ufeffAna",
    "Ana\u2060",
    "A\u200dna",
    "Ana\u200c",
    "An\u00ada",
    "\u3164",
    "\u2800\u2800",
]


@pytest.mark.parametrize("name", NOT_SINGLE_LINE, ids=ascii)
def test_a_name_with_line_breaks_or_bidirectional_marks_is_refused(admin, conversation, name):
    client = as_user(admin)
    before = Contact.objects.get(pk=conversation.contact_id).name
    for answer in (
        client.patch(f"{V1}contacts/{conversation.contact_id}/", {"name": name}, format="json"),
        client.post(f"{V1}agents/", {"name": name}, format="json"),
        client.post(f"{V1}auth/keys/", {"name": name, "scopes": ["events:read"]}, format="json"),
    ):
        assert answer.status_code == 400
        assert "name" in answer.json()["fields"]
    assert Contact.objects.get(pk=conversation.contact_id).name == before


@pytest.mark.parametrize(
    "name", ["Ana Lúcia", "שלום", "محمد", "👩\u200d💻 Dev", "❤️\u200d🔥", "می\u200cخواهم", "小明", "O'Neil & Söhne"]
)
def test_a_name_of_any_script_is_taken_as_it_is(admin, conversation, name):
    answer = as_user(admin).patch(f"{V1}contacts/{conversation.contact_id}/", {"name": name}, format="json")
    assert (answer.status_code, answer.json()["name"]) == (200, name)


@pytest.mark.parametrize(
    "form", ["%Y-%m-%dT%H:%M:%Sz", "%Y-%m-%dt%H:%M:%Sz", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%Sz"]
)
def test_a_time_in_lower_case_letters_is_utc(admin, conversation, form):
    at = (timezone.now() + timedelta(days=3)).astimezone(UTC).replace(microsecond=0)
    client = as_user(admin)
    key = {"name": "CRM", "scopes": ["events:read"], "expires_at": at.strftime(form)}
    assert client.post(f"{V1}auth/keys/", key, format="json").status_code == 201
    assert ApiKey.objects.get().expires_at == at
    url = f"{V1}conversations/{conversation.pk}/takeover/"
    answer = client.post(url, {"until": at.strftime(form)}, format="json")
    assert datetime.fromisoformat(answer.json()["control_until"]) == at
    assert client.get(f"{V1}messages/", {"since": at.strftime(form)}).status_code == 200
    assert client.get(f"{V1}messages/", {"before": at.strftime(form)}).status_code == 200


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59Z", "9999-01-02T00:00:00Z", "9999-12-31T23:59:59-12:00"])
def test_a_time_that_other_time_zones_cannot_show_is_refused(admin, conversation, log_in, settings, at):
    settings.TIME_ZONE = "Asia/Kolkata"
    client = as_user(admin)
    key = {"name": "CRM", "scopes": ["events:read"], "expires_at": at}
    for answer, field in (
        (client.post(f"{V1}auth/keys/", key, format="json"), "expires_at"),
        (client.post(f"{V1}conversations/{conversation.pk}/takeover/", {"until": at}, format="json"), "until"),
    ):
        assert (answer.status_code, answer.json()["fields"]) == (400, {field: ["Datetime value out of range."]})
    for page in ("messaging_conversation_changelist", "accounts_apikey_changelist"):
        assert log_in(admin).get(reverse(f"admin:{page}")).status_code == 200


def test_an_invalid_time_is_refused(admin):
    for value in ("z", "yesterday", "2026-13-01T00:00:00z"):
        assert as_user(admin).get(f"{V1}messages/", {"since": value}).status_code == 400
