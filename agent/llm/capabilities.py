"""What a family of models does not take. Only what we send is listed; an unknown model takes everything.

Source: what api.openai.com refuses, as reported until 2026-11: `max_tokens` and any `temperature` but 1 with a
reasoning model, and, from GPT-5.4 on, function tools in Chat Completions unless `reasoning_effort` is "none" (the
default is not).
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Capabilities:
    temperature: bool = True
    limit_name: str = "max_tokens"  # what Chat Completions calls the bound of an answer
    tools_while_reasoning: bool = True  # in Chat Completions; Responses always can


_REASONING = Capabilities(temperature=False, limit_name="max_completion_tokens")
_FAMILIES = (  # the first that matches, against a name without its vendor ("openai/gpt-6-luna")
    (re.compile(r"gpt-5(\.\d+)?-chat"), Capabilities(limit_name="max_completion_tokens")),
    (
        re.compile(r"gpt-(5\.[4-9]|[6-9]|\d\d)"),
        Capabilities(temperature=False, limit_name="max_completion_tokens", tools_while_reasoning=False),
    ),
    (re.compile(r"gpt-5|o\d"), _REASONING),
)


def capabilities_of(model: str) -> Capabilities:
    name = model.rpartition("/")[2].lower()
    return next((found for pattern, found in _FAMILIES if pattern.match(name)), Capabilities())
