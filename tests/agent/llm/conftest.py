"""A model of each API, before a model server that does as it is told."""

from collections.abc import Callable, Iterator

import pytest

from agent.llm import capabilities
from agent.llm.base import Model, Prompt, PromptMessage, Role
from agent.llm.chat import ChatModel
from agent.llm.model_server import ModelServer
from agent.llm.responses import ResponsesModel
from sessions_app import model_limits
from tests.support.fake_openai import FakeOpenAI

API_KEY = "sk-a-key-that-no-log-may-show"


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(api_key=API_KEY) as fake:
        yield fake


@pytest.fixture(params=[ChatModel, ResponsesModel], ids=["chat", "responses"])
def model(request: pytest.FixtureRequest, server: FakeOpenAI) -> Model:
    return request.param(ModelServer(base_url=server.base_url, api_key=API_KEY, timeout_s=10.0))


@pytest.fixture
def chat(server: FakeOpenAI) -> ChatModel:
    return ChatModel(ModelServer(base_url=server.base_url, api_key=API_KEY, timeout_s=10.0))


@pytest.fixture
def responses(server: FakeOpenAI) -> ResponsesModel:
    return ResponsesModel(ModelServer(base_url=server.base_url, api_key=API_KEY, timeout_s=10.0))


@pytest.fixture(autouse=True)
def no_stored_limits() -> Iterator[None]:
    """What is found out about models is remembered by this process alone, without a database."""
    capabilities.load_limits.provide(None)
    capabilities.store_limits.provide(None)
    capabilities.clear_cache()
    yield
    capabilities.clear_cache()
    capabilities.load_limits.provide(model_limits.load_limits)
    capabilities.store_limits.provide(model_limits.store_limits)


@pytest.fixture
def hurried(model: Model, server: FakeOpenAI) -> Model:
    """The same with a time-out that a test can wait for."""
    return type(model)(ModelServer(base_url=server.base_url, api_key=API_KEY, timeout_s=0.3))


@pytest.fixture
def prompt_of() -> Callable[..., Prompt]:
    """A prompt in which the user says this last."""

    def prompt(text: str = "my secret prompt", **more: object) -> Prompt:
        messages = (PromptMessage(Role.SYSTEM, "You are brief."), PromptMessage(Role.USER, text))
        return Prompt(**({"model": "fake-model", "messages": messages} | more))

    return prompt
