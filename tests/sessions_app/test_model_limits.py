"""What a model was found not to take: known to all processes and after a restart, for a week or until forgotten."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from agent import llm
from agent.llm import capabilities
from agent.llm.base import Prompt, PromptMessage, Role, ToolSpec
from agent.turns import turn as turns
from messaging.models import Message
from sessions_app import model_limits
from sessions_app.models import AgentProfile, ModelLimit

pytestmark = pytest.mark.django_db

TOOL = ToolSpec("remember", "Remember.", {"type": "object", "properties": {}})
NO_TOOLS = {"error": {"message": "x does not support tools"}}
NO_TEMPERATURE = {"error": {"message": "temperature is not supported with this model"}}


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    capabilities.clear_cache()
    yield
    capabilities.clear_cache()


@pytest.fixture(params=["chat", "responses"])
def api(request, settings):
    settings.OPENAI_API = request.param
    return request.param


def ask(name: str = "one") -> None:
    question = PromptMessage(Role.USER, "Hi")
    llm.model_for_settings().complete(Prompt(model=name, messages=(question,), tools=(TOOL,), temperature=0.5))


def start_another_process() -> None:
    """A process that has just started has loaded nothing yet."""
    capabilities.clear_cache()


def sent(model, name: str) -> list[bool]:
    return [name in request.body for request in model.requests]


def test_another_process_leaves_out_what_a_model_was_found_not_to_take(model, api):
    model.answer(NO_TOOLS, status=400)
    ask()
    start_another_process()
    ask()
    assert sent(model, "tools") == [True, False, False]
    assert llm.describe_limits("one") == ["takes no tools"]


def test_a_turn_leaves_out_what_another_process_found_out(says, conversation, model, profile, settings):
    AgentProfile.objects.update(tools=["remember"])
    model.answer(NO_TOOLS, status=400)
    ask(settings.OPENAI_MODEL)
    start_another_process()
    says("Hi")
    turns.take_turn(conversation.pk)
    assert sent(model, "tools")[2:] == [False]
    assert Message.objects.filter(direction="outbound").count() == 1


def test_limits_that_two_processes_find_at_once_are_both_stored(model):
    model.answer(NO_TOOLS, status=400)
    ask()
    start_another_process()
    ModelLimit.objects.update(name="hidden from this process")
    model.answer(NO_TEMPERATURE, status=400)
    ask()
    ModelLimit.objects.filter(name="hidden from this process").update(name="tools")
    start_another_process()
    assert llm.describe_limits("one") == ["takes no tools", "takes no temperature"]


def test_a_running_process_sees_within_a_minute_what_another_found_out(model, monkeypatch):
    ask()
    model_limits.store_limits(llm.model_for_settings().address, "one", {"tools": False})
    ask()
    monkeypatch.setattr(capabilities, "CACHE_TTL_S", 0.0)
    ask()
    assert sent(model, "tools") == [True, True, False]


def test_a_limit_is_of_one_model_at_one_address(model, settings):
    model.answer(NO_TOOLS, status=400)
    ask()
    ask("two")
    settings.OPENAI_API = "responses"
    ask()
    assert sent(model, "tools") == [True, False, True, True]


def test_after_a_week_it_is_tried_again(model):
    model.answer(NO_TOOLS, status=400)
    ask()
    ModelLimit.objects.update(found_at=timezone.now() - timedelta(days=8))
    start_another_process()
    ask()
    assert sent(model, "tools") == [True, False, True]
    model_limits.delete_expired_limits()
    assert not ModelLimit.objects.exists()


def test_doctor_can_forget_what_was_found_out(model, bridges, settings, capsys):
    model.answer(NO_TOOLS, status=400)
    ask(settings.OPENAI_MODEL)
    model.forget()
    with pytest.raises(SystemExit):  # the test has no engine
        call_command("doctor", "--forget-limits")
    assert any(sent(model, "tools"))
    assert "takes no tools" not in capsys.readouterr().out


def test_doctor_shows_what_another_process_found_out(model, bridges, settings, capsys):
    model_limits.store_limits(llm.model_for_settings().address, settings.OPENAI_MODEL, {"tools": False})
    with pytest.raises(SystemExit):
        call_command("doctor")
    assert f"limits of {settings.OPENAI_MODEL}: it takes no tools" in capsys.readouterr().out


def test_no_secret_of_an_address_is_stored(model, settings):
    settings.OPENAI_API_KEY = "a-key-of-some-length"
    host = model.base_url.removeprefix("http://").removesuffix("/v1")
    settings.OPENAI_BASE_URL = f"http://user:hush@{host}/a-key-of-some-length/v1?token=hush"
    address = llm.model_for_settings().address
    assert address == f"http://{host}/…/v1/chat/completions"


def test_a_database_that_cannot_store_it_loses_no_answer(transactional_db, model):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE sessions_app_modellimit RENAME TO away")
    try:
        model.answer(NO_TOOLS, status=400)
        ask()
        ask()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE away RENAME TO sessions_app_modellimit")
    assert sent(model, "tools") == [True, False, False]


def test_a_value_that_this_version_does_not_know_is_left_alone(model):
    model_limits.store_limits(llm.model_for_settings().address, "one", {"holograms": False, "tools": False})
    ask()
    assert sent(model, "tools") == [False]
    assert llm.describe_limits("one") == ["takes no tools"]


# --- the admin ---


def test_staff_see_in_a_profile_what_its_model_does_not_take(model, session, staff_member, log_in, settings):
    page = reverse("admin:sessions_app_agentprofile_change", args=[session.agent_profile.pk])
    assert "Nothing was found out so far." in log_in(staff_member).get(page).content.decode()
    model_limits.store_limits(llm.model_for_settings().address, settings.OPENAI_MODEL, {"tools": False})
    assert f"{settings.OPENAI_MODEL} takes no tools." in log_in(staff_member).get(page).content.decode()


def test_a_limit_that_an_administrator_deletes_is_tried_again(model, admin, log_in):
    model.answer(NO_TOOLS, status=400)
    ask()
    client, row = log_in(admin), ModelLimit.objects.get()
    assert "takes no tools" in client.get(reverse("admin:sessions_app_modellimit_changelist")).content.decode()
    client.post(reverse("admin:sessions_app_modellimit_delete", args=[row.pk]), {"post": "yes"})
    start_another_process()
    ask()
    assert sent(model, "tools") == [True, False, True]


@pytest.mark.parametrize("page", ["changelist", "change", "delete"])
def test_staff_who_are_no_administrators_see_no_list_of_limits(model, staff_member, log_in, page):
    row = ModelLimit.objects.create(address="a", model="b", name="tools", value=False, found_at=timezone.now())
    url = reverse(f"admin:sessions_app_modellimit_{page}", args=[] if page == "changelist" else [row.pk])
    assert log_in(staff_member).post(url, {"post": "yes"}).status_code == 403
    assert ModelLimit.objects.exists()
