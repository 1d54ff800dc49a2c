"""The admin in Brazilian Portuguese: what staff read on its pages is translated."""

import dataclasses
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
from agent import llm
from agent.llm.capabilities import Capabilities, describe_limit
from messaging import control
from sessions_app import drafts, model_limits, profiles
from sessions_app.bridges import adapter_for
from sessions_app.models import AgentProfileVersion, Bridge, WhatsAppSession
from tests.conftest import as_user
from whatsapp_agent.errors import InvalidPhone
from whatsapp_agent.text.stored import translate_stored

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
    url = reverse("inbox-reply", args=[conversation.pk])
    assert log_in(admin).post(url, {"text": "Oi"}).json()["detail"] == "O número não está conectado. Vincule-o antes."
    url = f"/api/v1/conversations/{conversation.pk}/messages/"
    answer = as_user(admin).post(url, {"text": "Oi"}, format="json", headers={"Accept-Language": "pt-BR"})
    assert answer.json()["detail"] == "The number is not connected. Link it first."


@pytest.fixture
def portuguese(admin: User, log_in: Any) -> Any:
    """The browser of an administrator who chose Portuguese."""
    User.objects.filter(pk=admin.pk).update(language="pt-br")
    return log_in(admin)


def test_all_values_of_a_version_have_the_names_of_their_fields(portuguese, admin, profile):
    profiles.change_profile(profile=profile, instructions="Be brief.", tools=[], by=admin)
    version = profile.versions.first()
    AgentProfileVersion.objects.filter(pk=version.pk).update(values=version.values | {"holograms": None})
    page = portuguese.get(reverse("admin:sessions_app_agentprofile_change", args=[profile.pk])).content.decode()
    assert '<dt class="font-semibold">Instruções</dt>' in page
    assert '<dt class="font-semibold">Holograms</dt>' in page  # what profiles no longer have
    assert '<dt class="font-semibold">max_output_tokens</dt>' not in page


def test_what_a_model_does_not_take_is_in_portuguese(portuguese, profile, settings):
    settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = "http://127.0.0.1:9/v1", ""
    page = reverse("admin:sessions_app_agentprofile_change", args=[profile.pk])
    assert "Nada foi descoberto até agora." in portuguese.get(page).content.decode()
    address = llm.model_for_settings().address
    model_limits.store_limits(address, settings.OPENAI_MODEL, {"tools": False, "max_prompt_tokens": 900})
    assert (
        f"{settings.OPENAI_MODEL} não aceita ferramentas; não aceita prompt de mais de cerca de 900 tokens"
        in portuguese.get(page).content.decode()
    )
    assert (
        "não aceita ferramentas" in portuguese.get(reverse("admin:sessions_app_modellimit_changelist")).content.decode()
    )


@pytest.mark.parametrize("value", ["", 0, "max_tokens", 900])
@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Capabilities)])
def test_each_limit_of_a_model_has_a_translation(name, value):
    limit = describe_limit(name, value)
    with translation.override("pt-br"):
        assert translate_stored(limit) != limit


@pytest.mark.parametrize(
    ("public_url", "line"),
    [
        ("", "Defina PUBLIC_URL"),
        ("https://agent.example", "não tem chamada de API para isto. Configure nela: https://agent.example/"),
    ],
)
def test_what_was_done_at_a_bridge_is_in_portuguese_in_the_admin(portuguese, session, settings, public_url, line):
    settings.PUBLIC_URL = public_url
    values = {"action": "set_up", "confirmed": "1", "_selected_action": str(session.bridge.pk)}
    page = portuguese.post(reverse("admin:sessions_app_bridge_changelist"), values, follow=True).content.decode()
    assert line in page


def test_a_bridge_that_cannot_be_reached_is_reported_in_portuguese(portuguese, profile, bridges):
    bridge = Bridge.objects.create(slug="away", kind="zapw", base_url="http://127.0.0.1:9", api_key="a-key")
    values = {"name": "sales", "bridge": str(bridge.pk), "agent_profile": str(profile.pk)}
    page = portuguese.post(reverse("admin:sessions_app_whatsappsession_add"), values).content.decode()
    assert "Não foi possível alcançar: " in page
    assert not WhatsAppSession.objects.filter(bridge=bridge).exists()


def test_a_phone_that_a_bridge_refuses_is_refused_in_the_language_of_the_reader(session):
    with pytest.raises(InvalidPhone) as refusal:
        adapter_for(session.bridge).address_of_phone("5511")
    with translation.override("pt-br"):
        assert str(refusal.value) == "Isto não é um número de telefone com o código do país."
    with translation.override("en"):
        assert str(refusal.value) == "This is not a phone number with its country code."


def test_another_program_is_named_in_portuguese_and_a_role_as_it_is(portuguese, conversation):
    page = reverse("inbox-conversation", args=[conversation.pk])
    for name, shown in ((control.ANOTHER_PROGRAM, "outro programa"), ("ai_agent", "ai_agent")):
        control.record_external_controller(conversation_id=conversation.pk, name=name)
        assert f"esta conversa está com {shown}: o agente fica em silêncio" in portuguese.get(page).content.decode()
        control.record_external_controller(conversation_id=conversation.pk, name="")


def test_no_language_is_called_that_of_the_browser(portuguese):
    page = portuguese.get(reverse("preferences")).content.decode()
    assert ">O do navegador</option>" in "".join(page.split("\n")).replace(" </option>", "</option>")
    assert "---------" not in page


def test_the_history_of_a_row_is_in_the_language_of_its_reader(portuguese, admin, profile, log_in):
    drafts.save_draft(profile=profile, purpose="Sales")
    shown = portuguese.post(reverse("admin:profile-publish", args=[profile.pk]), follow=True).content.decode()
    assert "Publicado como versão 2." in shown
    history = reverse("admin:sessions_app_agentprofile_history", args=[profile.pk])
    assert "Publicado como versão 2." in portuguese.get(history).content.decode()
    User.objects.filter(pk=admin.pk).update(language="en")
    assert "Published as version 2." in log_in(admin).get(history).content.decode()


def test_the_history_of_a_conversation_is_in_portuguese(portuguese, conversation):
    portuguese.post(reverse("inbox-act", args=[conversation.pk, "control"]), {"to": "human"})
    history = portuguese.get(reverse("admin:messaging_conversation_history", args=[conversation.pk]))
    assert "Caixa de entrada: control." in history.content.decode()
