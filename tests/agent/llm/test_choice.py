"""Which model answers is a matter of settings."""

import pytest

from agent.llm import model_for_settings
from agent.llm.base import Prompt, PromptMessage, Role
from agent.llm.chat import ChatModel
from agent.llm.responses import ResponsesModel
from agent.llm.scripted import ScriptedModel
from tests.support.fake_openai import FakeOpenAI


@pytest.mark.parametrize(
    ("key", "base_url", "api", "kind"),
    [
        ("", "", "chat", ScriptedModel),
        ("", "", "responses", ScriptedModel),
        ("sk-1", "", "chat", ChatModel),
        ("", "http://localhost:11434/v1", "chat", ChatModel),
        ("sk-1", "", "responses", ResponsesModel),
        ("sk-1", "http://localhost:11434/v1", "responses", ResponsesModel),
    ],
)
def test_a_key_or_an_address_selects_a_real_model(settings, key, base_url, api, kind):
    settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL, settings.OPENAI_API = key, base_url, api
    assert type(model_for_settings()) is kind


def test_one_process_has_one_model(settings):
    settings.OPENAI_API_KEY = "sk-1"
    assert model_for_settings() is model_for_settings()


def test_the_settings_address_and_key_are_used(settings):
    with FakeOpenAI(api_key="sk-1") as server:
        settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL, settings.OPENAI_API = "sk-1", server.base_url, "chat"
        prompt = Prompt(model="any", messages=(PromptMessage(Role.USER, "Hi"),))
        assert model_for_settings().complete(prompt).text == "You said: Hi"
