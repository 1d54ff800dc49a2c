"""Forms of the admin take a text of one line as the API does."""

from typing import Any

import pytest
from django.contrib import admin as django_admin
from django.db import models
from django.urls import reverse

from accounts.models import ApiKey, User
from sessions_app.models import AgentProfile
from tests.conftest import as_user

pytestmark = pytest.mark.django_db
NOT_SINGLE_LINE = [
    "a\u202eb",
    "a\u2066b",
    "a\u200fb",
    "a\u2028b",
    "a\x85b",
    "a\u200bb",
    "\ufeffAna",
    "A\u200dna",
    "\u3164",
]


def form_of(page: Any) -> dict[str, Any]:
    """The values of the page's form, as a browser posts them."""
    form = page.context["adminform"].form
    values = {name: form[name].value() for name in form.fields}
    return {name: value for name, value in values.items() if value is not None and value is not False}


@pytest.mark.parametrize("name", NOT_SINGLE_LINE, ids=ascii)
@pytest.mark.parametrize("field", ["name", "purpose", "model"])
def test_a_profile_s_texts_are_refused_in_the_admin(field, name, admin, log_in, profile):
    client, url = log_in(admin), reverse("admin:sessions_app_agentprofile_change", args=[profile.pk])
    response = client.post(url, form_of(client.get(url)) | {field: name})
    assert list(response.context["adminform"].form.errors) == [field]
    assert AgentProfile.objects.get(pk=profile.pk).version == profile.version


def test_a_profile_is_saved_in_the_admin_under_a_name_of_any_script(admin, log_in, profile):
    client, url = log_in(admin), reverse("admin:sessions_app_agentprofile_change", args=[profile.pk])
    assert client.post(url, form_of(client.get(url)) | {"name": "محمد 👩\u200d💻"}).status_code == 302
    assert AgentProfile.objects.get(pk=profile.pk).name == "محمد 👩\u200d💻"


def test_an_old_name_does_not_hinder_another_change(admin, log_in, profile):
    AgentProfile.objects.filter(pk=profile.pk).update(name="a\u202eb")
    client, url = log_in(admin), reverse("admin:sessions_app_agentprofile_change", args=[profile.pk])
    assert client.post(url, form_of(client.get(url)) | {"purpose": "Sales"}).status_code == 302


@pytest.mark.parametrize("name", NOT_SINGLE_LINE, ids=ascii)
def test_the_name_of_a_user_is_refused_in_the_admin(name, admin, member, log_in):
    client, url = log_in(admin), reverse("admin:accounts_user_change", args=[member.pk])
    response = client.post(url, {"username": "member", "first_name": name})
    assert "first_name" in response.context["adminform"].form.errors
    assert User.objects.get(pk=member.pk).first_name == ""


@pytest.mark.parametrize("name", NOT_SINGLE_LINE, ids=ascii)
def test_the_name_of_a_key_is_refused_in_the_admin(name, admin, log_in):
    url = reverse("admin:accounts_apikey_add")
    response = log_in(admin).post(url, {"user": admin.pk, "name": name, "scopes": ["events:read"]})
    assert list(response.context["adminform"].form.errors) == ["name"]
    assert not ApiKey.objects.exists()


def test_every_admin_page_checks_the_texts_that_can_be_written_on_it(admin, rf, profile):
    request = rf.get("/")
    request.user = admin
    unchecked = []
    for model, page in django_admin.site._registry.items():
        if not (page.has_add_permission(request) or page.has_change_permission(request)):
            continue
        form = page.get_form(request)
        texts = [
            name
            for name in form.base_fields
            if any(field.name == name and isinstance(field, models.CharField) for field in model._meta.fields)
        ]
        if texts and "SingleLineForm" not in [base.__name__ for base in form.__mro__]:
            unchecked.append((model.__name__, texts))
    assert unchecked == []


@pytest.mark.parametrize("reason", NOT_SINGLE_LINE, ids=ascii)
def test_the_reason_of_a_takeover_is_one_line(reason, admin, conversation):
    url = f"/api/v1/conversations/{conversation.pk}/takeover/"
    response = as_user(admin).post(url, {"reason": reason}, format="json")
    assert (response.status_code, list(response.json()["fields"])) == (400, ["reason"])


@pytest.mark.parametrize("name", NOT_SINGLE_LINE, ids=ascii)
def test_the_simulator_refuses_a_contact_with_such_a_name(name, admin, log_in, simulator, profile):
    from sessions_app.services import start_session

    session = start_session(name="try", bridge=simulator)
    url = reverse("simulator-contacts", args=[session.pk])
    response = log_in(admin).post(url, {"name": name, "phone": "+5511988887777"}, content_type="application/json")
    assert response.status_code == 400
