"""What a model does not take: known families, and what a server has refused (remembered in this process).

Source of the families: what api.openai.com refuses, as reported until 2026-11: `max_tokens` and any `temperature` but 1
with a reasoning model, and, from GPT-5.4 on, function tools in Chat Completions unless `reasoning_effort` is "none"
(the default is not). Only what we send is listed; an unknown model takes everything.
"""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

LEARNED_TTL_S = 6 * 3600.0  # then it is tried again: servers are restarted with other options
MAX_LEARNED = 256  # models


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
    encrypted_reasoning: bool = False  # Responses returns reasoning that can be sent back


_REASONING = Capabilities(temperature=False, limit_name="max_completion_tokens", encrypted_reasoning=True)
_FAMILIES = (  # the first that matches, against a name without its vendor ("openai/gpt-6-luna")
    (re.compile(r"gpt-5(\.\d+)?-chat"), Capabilities(limit_name="max_completion_tokens")),
    (re.compile(r"gpt-(5\.[4-9]|[6-9]|\d\d)"), replace(_REASONING, tools_while_reasoning=False)),
    (re.compile(r"gpt-5|o\d"), _REASONING),
)
_SENTENCES = {
    "tools": "takes no tools",
    "temperature": "takes no temperature",
    "system_role": "takes no system message; the instructions stand in the first user message",
    "any_role_order": "wants user and assistant messages to alternate",
    "null_content": "takes no null content beside tool calls",
    "extra_fields": "takes back no fields of its own, such as reasoning",
    "tools_while_reasoning": "takes tools only without reasoning",
    "encrypted_reasoning": "returns no encrypted reasoning",
}

_learned: OrderedDict[tuple[str, str], tuple[float, dict[str, Any]]] = OrderedDict()  # by server and model
_lock = threading.Lock()


def capabilities_of(model: str, *, server: str = "") -> Capabilities:
    """Return what a model takes, also by what this server has refused before."""
    name = model.rpartition("/")[2].lower()
    family = next((found for pattern, found in _FAMILIES if pattern.match(name)), Capabilities())
    learned = _learned_of(server, model)
    return replace(family, **learned) if learned else family


def learn(server: str, model: str, changes: Mapping[str, Any]) -> None:
    """Remember what a server refused for a model, and what it took instead."""
    with _lock:
        _, before = _learned.pop((server, model), (0.0, {}))
        _learned[server, model] = time.monotonic(), before | dict(changes)
        while len(_learned) > MAX_LEARNED:
            _learned.popitem(last=False)


def describe_learned(server: str, model: str) -> list[str]:
    """Return what was found out about a model in this process, as sentences without a subject; empty if nothing."""
    learned = _learned_of(server, model)
    sentences = [_SENTENCES[name] for name in _SENTENCES if name in learned]
    if "limit_name" in learned:
        name = learned["limit_name"]
        sentences.append(f"calls the limit of an answer {name}" if name else "takes no limit of an answer")
    return sentences


def forget_learned() -> None:
    with _lock:
        _learned.clear()


def _learned_of(server: str, model: str) -> dict[str, Any]:
    with _lock:
        learned_at, changes = _learned.get((server, model), (0.0, {}))
        if changes and time.monotonic() - learned_at > LEARNED_TTL_S:
            del _learned[server, model]
            return {}
        return changes
