"""What the model was sent as the results of its tools."""

import json
from typing import Any

from tests.support.fake_openai import FakeOpenAI


def tool_results(model: FakeOpenAI, number: int = -1) -> list[dict[str, Any]]:
    """Return the results in one of the model's requests, in either API."""
    body = model.requests[number].body
    if "input" in body:
        texts = [item["output"] for item in body["input"] if item.get("type") == "function_call_output"]
    else:
        texts = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    return [json.loads(text.partition("\n")[0]) for text in texts]
