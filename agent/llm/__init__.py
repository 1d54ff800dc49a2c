"""Model servers: the settings choose one; prompts and answers have one form (`agent.llm.base`)."""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast

from django.conf import settings

from agent.llm import capabilities
from agent.llm.adapter import Adapter
from agent.llm.base import Model, Prompt
from agent.llm.chat import ChatModel
from agent.llm.embeddings import Embedder
from agent.llm.model_server import ModelServer
from agent.llm.responses import ResponsesModel
from agent.llm.scripted import ScriptedModel
from agent.llm.speech import Speaker
from agent.llm.transcription import Transcriber

T = TypeVar("T")


def model_for_settings() -> Model:
    """Return the model that OPENAI_* chooses: the same object for all threads of the process."""
    return _model(
        api=settings.OPENAI_API,
        base_url=settings.OPENAI_BASE_URL,
        api_key=settings.OPENAI_API_KEY,
        timeout_s=settings.MODEL_TIMEOUT_S,
    )


@cache  # by the settings, so that overriding them takes effect
def _model(*, api: str, base_url: str, api_key: str, timeout_s: float) -> Model:
    if not api_key and not base_url:
        return ScriptedModel()
    server = ModelServer(base_url=base_url, api_key=api_key, timeout_s=timeout_s)
    return ResponsesModel(server) if api == "responses" else ChatModel(server)


def load_client() -> None:
    """Import what asking a model server takes, if there is one: before a fork, so that processes share its memory."""
    if settings.OPENAI_API_KEY or settings.OPENAI_BASE_URL:
        import openai  # noqa: F401


def describe_limits(model: str) -> list[str]:
    """Return what was found out that a model does not take, as sentences without a subject."""
    adapter = model_for_settings()
    return capabilities.describe_limits(adapter.address, model) if isinstance(adapter, Adapter) else []


def fits(prompt: Prompt) -> bool:
    """Return whether a prompt is shorter than those that the model's context was too small for."""
    adapter = model_for_settings()
    return adapter.fits(prompt) if isinstance(adapter, Adapter) else True


def remember_too_long(prompt: Prompt, *, taken: Prompt) -> None:
    """Remember that the model's context was too small for a prompt, and large enough for a shorter one."""
    adapter = model_for_settings()
    if isinstance(adapter, Adapter):
        adapter.remember_too_long(prompt, taken=taken)


def embedder_for_settings(*, timeout_s: float) -> Embedder | None:
    """Return the embedding model that OPENAI_EMBEDDING_MODEL names; None if it is empty."""
    return _for_settings(Embedder, settings.OPENAI_EMBEDDING_MODEL, timeout_s=timeout_s)


def transcriber_for_settings() -> Transcriber | None:
    """Return the transcription model that OPENAI_TRANSCRIPTION_MODEL names; None if it is empty."""
    return _for_settings(Transcriber, settings.OPENAI_TRANSCRIPTION_MODEL, timeout_s=settings.MODEL_TIMEOUT_S)


def speaker_for_settings() -> Speaker | None:
    """Return the speech model that OPENAI_SPEECH_MODEL names; None if it is empty."""
    return _for_settings(
        Speaker, settings.OPENAI_SPEECH_MODEL, timeout_s=settings.MODEL_TIMEOUT_S, voice=settings.OPENAI_SPEECH_VOICE
    )


def _for_settings(kind: Callable[..., T], model: str, *, timeout_s: float, **options: str) -> T | None:
    if not model:
        return None
    server = (settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY, timeout_s)
    return cast("T", _create(kind, *server, model=model, **options))


@cache
def _create(kind: Callable[..., Any], base_url: str, api_key: str, timeout_s: float, **options: str) -> Any:
    return kind(ModelServer(base_url=base_url, api_key=api_key, timeout_s=timeout_s), **options)
