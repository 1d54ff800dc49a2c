"""The admin in Brazilian Portuguese: what staff read on its pages is translated."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.utils import label_for_field
from django.core.exceptions import FieldDoesNotExist
from django.test import RequestFactory
from django.urls import reverse
from django.utils import translation
from django.utils.functional import Promise

from accounts.models import User
from sessions_app.models import WhatsAppSession
from tests.conftest import as_user

ADMINS = {model._meta.label: page for model, page in admin.site._registry.items()}
SAME_WORD = {  # as long as both languages have the word
    "API", "E.164.", "JID", "LID", "Prompt", "api", "endpoint", "manage.py", "slug", "host", "ref", "status", "E-mail",
    "#", "Total", "link", "Audio", "Video",
}  # fmt: skip


def pages_and_inlines(page: Any) -> Iterator[Any]:
    yield page
    for inline in page.inlines:
        yield inline(page.model, admin.site)


def shown_fields(page: Any, request: Any) -> set[str]:
    """Return the names that the list and the form show."""
    sets = page.get_fieldsets(request)
    names = {
        name for _, options in sets for row in options["fields"] for name in ([row] if isinstance(row, str) else row)
    }
    return names | set(getattr(page, "list_display", ()))


@pytest.fixture
def request_of_admin(admin: User) -> Any:
    request = RequestFactory().get("/admin/")
    request.user = admin
    return request


@pytest.mark.parametrize("label", ADMINS)
def test_what_an_admin_page_shows_of_its_models_is_a_lazy_translation(label, request_of_admin):
    plain = []
    for page in pages_and_inlines(ADMINS[label]):
        meta = page.model._meta
        if meta.app_label == "auth":
            continue
        texts: dict[str, Any] = {"": meta.verbose_name, "plural": meta.verbose_name_plural}
        for name in shown_fields(page, request_of_admin):
            try:
                field = meta.get_field(name)
            except FieldDoesNotExist:
                continue
            texts[name] = field.verbose_name
            texts[f"help of {name}"] = field.help_text
            if isinstance(field.choices, list) and name not in {"kind", "language"}:
                texts |= {f"{name}={value}": text for value, text in field.choices}
        plain += [
            f"{meta.label}.{name}: {text}"
            for name, text in texts.items()
            if text and name != "id" and not isinstance(text, Promise)
        ]
    assert plain == []


@pytest.mark.parametrize("label", ADMINS)
def test_the_labels_and_actions_of_an_admin_page_are_in_portuguese(label, request_of_admin):
    page = ADMINS[label]

    def labels() -> list[str]:
        texts = [str(label_for_field(name, page.model, page)) for name in page.get_list_display(request_of_admin)]
        for each in pages_and_inlines(page):
            texts += [str(title) for title, _ in getattr(each, "fieldsets", None) or () if title]
            texts += [str(each.opts.verbose_name), str(each.opts.verbose_name_plural)]
        texts += [str(description) for _, _, description in page.get_actions(request_of_admin).values()]
        return texts

    with translation.override("en"):
        english = labels()
    with translation.override("pt-br"):
        portuguese = labels()
    same = {text for text, other in zip(english, portuguese, strict=True) if text == other}
    assert same - SAME_WORD - {"User", "Group", "id", "ID"} == set()


@pytest.mark.parametrize("label", ADMINS)
@pytest.mark.parametrize("page", ["changelist", "add"])
def test_an_admin_page_of_a_portuguese_user_opens_in_portuguese(label, page, admin, log_in):
    User.objects.filter(pk=admin.pk).update(language="pt-br")
    name = label.replace(".", "_").lower()
    response = log_in(admin).get(reverse(f"admin:{name}_{page}"))
    if page == "add" and response.status_code == 403:
        return  # nobody adds these rows by hand
    text = response.content.decode()
    assert response.status_code == 200
    assert 'lang="pt-br"' in text
    english = (
        "Select action",
        "Apply Filters",
        "Run the selected action",
        "created at",
        "Created at",
        "Type to search",
    )
    assert [each for each in english if each in text] == []


def test_a_refusal_is_in_the_language_of_staff_and_for_the_api_in_english(conversation, admin, log_in):
    WhatsAppSession.objects.update(status="disconnected")
    User.objects.filter(pk=admin.pk).update(language="pt-br")
    url = reverse("admin:conversation-write", args=[conversation.pk])
    page = log_in(admin).post(url, {"text": "Oi"}, headers={"HX-Request": "true"}).content.decode()
    assert "O número não está conectado. Vincule-o antes." in page
    url = f"/api/v1/conversations/{conversation.pk}/messages/"
    answer = as_user(admin).post(url, {"text": "Oi"}, format="json", headers={"Accept-Language": "pt-BR"})
    assert answer.json()["detail"] == "The session is not connected. Link its number first."
