"""What a model does not take: known families, and what a server has refused (found out once, and stored).

Source of the families: what api.openai.com refuses, as reported until 2026-11: `max_tokens` and any `temperature` but 1
with a reasoning model, and, from GPT-5.4 on, function tools in Chat Completions unless `reasoning_effort` is "none"
(the default is not). Only what we send is listed; an unknown model takes everything.
"""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from whatsapp_agent.callback import Callback

CACHE_TTL_S = 60.0  # after which this process sees what others have found out, and what has expired
MAX_CACHED = 256  # models

# Load and store what was found out about a model at an address: values by fields of Capabilities. `load_limits` returns
# None if it cannot tell now. Without a store this process remembers until it ends.
load_limits = Callback[[str, str], Mapping[str, Any] | None](default=lambda _address, _model: None)
store_limits = Callback[[str, str, Mapping[str, Any]], None](default=lambda _address, _model, _limits: None)


@dataclass(frozen=True, slots=True)
class Capabilities:
    tools: bool = True
    temperature: bool = True
    limit_name: str = "max_tokens"  # what Chat Completions calls the bound of an answer; empty: it takes none
    system_role: bool = True
    any_role_order: bool = True  # False: user and assistant must alternate
    null_content: bool = True  # beside tool calls
    extra_fields: bool = True  # what the server added to its own message may go back to it
    tools_while_reasoning: bool = True  # in Chat Completions; Responses always can
    images: bool = True  # beside a user's text
    encrypted_reasoning: bool = False  # Responses returns reasoning that can be sent back
    max_prompt_tokens: int = 0  # by the estimate of `agent.llm.tokens`; 0: no prompt was too long so far


_REASONING = Capabilities(temperature=False, limit_name="max_completion_tokens", encrypted_reasoning=True)
_FAMILIES = (  # the first that matches, against a name without its vendor ("openai/gpt-6-luna")
    (re.compile(r"gpt-5(\.\d+)?-chat"), Capabilities(limit_name="max_completion_tokens")),
    (re.compile(r"gpt-(5\.[4-9]|[6-9]|\d\d)"), replace(_REASONING, tools_while_reasoning=False)),
    (re.compile(r"gpt-5|o\d"), _REASONING),
)
_SENTENCES = {
    "tools": "takes no tools",
    "temperature": "takes no temperature",
    "system_role": "takes no system message; the instructions are sent in the first user message",
    "any_role_order": "wants user and assistant messages to alternate",
    "null_content": "takes no null content beside tool calls",
    "extra_fields": "takes back no fields of its own, such as reasoning",
    "tools_while_reasoning": "takes tools only without reasoning",
    "images": "takes no images; they are described in text",
    "encrypted_reasoning": "returns no encrypted reasoning",
    "limit_name": "calls the limit of an answer {}",
    "max_prompt_tokens": "takes no prompt of more than about {} tokens, by a rough estimate",
}

_FIELDS = frozenset(field.name for field in fields(Capabilities))

_cache: OrderedDict[tuple[str, str], tuple[float, dict[str, Any]]] = OrderedDict()  # by address and model
_lock = threading.Lock()


def capabilities_of(model: str, *, address: str = "") -> Capabilities:
    """Return what a model takes, also by what the server at this address has refused before."""
    name = model.rpartition("/")[2].lower()
    family = next((found for pattern, found in _FAMILIES if pattern.match(name)), Capabilities())
    limits = _limits_of(address, model, max_age_s=CACHE_TTL_S) if address else {}
    return replace(family, **limits) if limits else family


def learn(address: str, model: str, limits: Mapping[str, Any]) -> None:
    """Remember what a server refused for a model, and what it took instead."""
    with _lock:
        loaded_at, before = _cache.get((address, model), (time.monotonic(), {}))
        _put(address, model, loaded_at=loaded_at, limits=before | dict(limits))
    store_limits(address, model, limits)


def describe_limits(address: str, model: str) -> list[str]:
    """Return what any process found out about a model, as sentences without a subject; empty if nothing."""
    limits = _limits_of(address, model, max_age_s=0)
    known = [name for name in _SENTENCES if name in limits and (limits[name] or name != "max_prompt_tokens")]
    return [describe_limit(name, limits[name]) for name in known]


def describe_limit(name: str, value: Any) -> str:
    """Return a limit as a sentence without a subject."""
    if name == "limit_name" and not value:
        return "takes no limit of an answer"
    if name == "max_prompt_tokens" and not value:
        return "takes a prompt that was too long before"
    return _SENTENCES.get(name, name).format(value)


def clear_cache() -> None:
    """Forget what this process has loaded; what is stored stays."""
    with _lock:
        _cache.clear()


def _limits_of(address: str, model: str, *, max_age_s: float) -> dict[str, Any]:
    with _lock:
        loaded_at, limits = _cache.get((address, model), (float("-inf"), {}))
    now = time.monotonic()
    if now - loaded_at < max_age_s:
        return limits
    stored = load_limits(address, model)
    if stored is not None:  # another version of this program may have stored what this one does not know
        limits = {name: value for name, value in stored.items() if name in _FIELDS}
    with _lock:
        _put(address, model, loaded_at=now, limits=limits)
    return limits


def _put(address: str, model: str, *, loaded_at: float, limits: dict[str, Any]) -> None:
    _cache[address, model] = loaded_at, limits
    _cache.move_to_end((address, model))
    while len(_cache) > MAX_CACHED:
        _cache.popitem(last=False)
