"""The formats of the fake model server: Chat Completions, Responses and embeddings, read and written."""

import base64
import email
import hashlib
import json
import math
import re
import struct
from dataclasses import dataclass, field
from time import time
from typing import Any

DIMENSIONS = 256
_REASONING = re.compile(r"(gpt-([5-9]|\d\d)(?!.*-chat)|o\d)")
_NO_TOOLS_WHILE_REASONING = re.compile(r"gpt-(5\.[4-9]|[6-9]|\d\d)")


@dataclass
class ModelReply:
    """What the model answers, independent of the API."""

    text: str | None = None
    calls: list[tuple[str, Any]] = field(default_factory=list)  # name; arguments as a dict, or as raw text
    refusal: str | None = None
    finish_reason: str = "stop"


@dataclass
class Answer:
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    def encoded(self) -> bytes:
        extra = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        head = f"HTTP/1.1 {self.status} \r\nContent-Type: application/json\r\nContent-Length: {len(self.body)}\r\n"
        return f"{head}{extra}\r\n".encode() + self.body


def plain(data: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(data).encode())


def error(status: int, message: str, *, code: str | None = None, kind: str = "invalid_request_error") -> Answer:
    return plain({"error": {"message": message, "type": kind, "param": None, "code": code}}, status)


# --- Chat Completions ------------------------------------------------------------------------------------------------
def read_chat(body: dict[str, Any]) -> tuple[str, str | None, set[str]]:
    """Return the error or "", the text of the last message if it is the user's (else None), and the tools' names."""
    messages, model = body["messages"], body["model"]
    if not messages or not isinstance(model, str) or not model:
        return "messages and model are required.", None, set()
    if body.get("stream"):
        return "This server does not stream.", None, set()
    if _REASONING.match(model) and ("max_tokens" in body or body.get("temperature", 1) != 1):
        return "Unsupported parameter with this model.", None, set()
    if body.get("tools") and _NO_TOOLS_WHILE_REASONING.match(model) and body.get("reasoning_effort") != "none":
        return "Function tools with reasoning_effort are not supported.", None, set()
    open_calls: set[str] = set()
    for message in messages:
        role = message["role"]
        if role == "tool":
            if message["tool_call_id"] not in open_calls:
                return "A tool message must follow the tool_calls it answers.", None, set()
            open_calls.discard(message["tool_call_id"])
            continue
        if open_calls:
            return "tool_calls must be followed by an answer to each.", None, set()
        if role not in {"system", "developer", "user", "assistant"}:
            return "Unknown role.", None, set()
        for call in message.get("tool_calls") or ():
            if not _is_good_call(call["function"]):
                return "A tool call of the history is malformed.", None, set()
            open_calls.add(call["id"])
    if open_calls:
        return "tool_calls must be followed by an answer to each.", None, set()
    tools = {tool["function"]["name"] for tool in body.get("tools", ())}
    return "", _text_of(messages[-1]["content"]) if messages[-1]["role"] == "user" else None, tools


def last_of_user(body: dict[str, Any]) -> str:
    """Return the text of the user's last message, even if tool results follow it."""
    texts = [item["content"] for item in body.get("messages", body.get("input")) if item.get("role") == "user"]
    return _text_of(texts[-1]) if texts else ""


def _text_of(content: Any) -> str:
    """Return the text parts of a message's content, which may also contain images."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _is_good_call(call: dict[str, Any]) -> bool:
    try:
        json.loads(call["arguments"])
    except ValueError:
        return False
    return bool(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", call["name"]))


def chat_completion(number: int, model: str, tokens: tuple[int, int], reply: ModelReply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": reply.refusal}
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{number}_{index}",
                "type": "function",
                "function": {"name": name, "arguments": _text(arguments)},
            }
            for index, (name, arguments) in enumerate(reply.calls)
        ]
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": int(time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason}],
        "usage": {
            "prompt_tokens": tokens[0],
            "completion_tokens": tokens[1],
            "total_tokens": sum(tokens),
            "prompt_tokens_details": {"cached_tokens": tokens[0] // 2, "audio_tokens": 0},
        },
    }


def _text(arguments: Any) -> Any:
    return json.dumps(arguments) if isinstance(arguments, dict) else arguments


# --- Responses -------------------------------------------------------------------------------------------------------
def read_responses(body: dict[str, Any]) -> tuple[str, str | None, set[str]]:
    """Return the same as `read_chat`."""
    items, model = body["input"], body["model"]
    if not items or not isinstance(model, str) or not model:
        return "input and model are required.", None, set()
    if _REASONING.match(model) and body.get("temperature", 1) != 1:
        return "Unsupported parameter with this model.", None, set()
    if body.get("max_output_tokens", 16) < 16:
        return "max_output_tokens must be at least 16.", None, set()
    open_calls: set[str] = set()
    for item in items:
        match item.get("type", "message"):
            case "function_call":
                if not _is_good_call(item):
                    return "A function call of the history is malformed.", None, set()
                open_calls.add(item["call_id"])
            case "function_call_output":
                if item["call_id"] not in open_calls:
                    return "No tool call found for function call output.", None, set()
                open_calls.discard(item["call_id"])
            case "reasoning":
                if not (item.get("encrypted_content") or item.get("content") or item.get("summary")):
                    return "Item with id was not found: nothing is stored.", None, set()
            case "message":
                if item["role"] not in {"system", "developer", "user", "assistant"}:
                    return "Unknown role.", None, set()
            case _:
                return "Unknown item.", None, set()
    if open_calls:
        return "No tool output found for function call.", None, set()
    tools = {tool["name"] for tool in body.get("tools", ())}
    return "", _text_of(items[-1]["content"]) if items[-1].get("role") == "user" else None, tools


def response_object(number: int, model: str, tokens: tuple[int, int], reply: ModelReply) -> dict[str, Any]:
    output: list[dict[str, Any]] = [{"type": "reasoning", "id": f"rs_{number}", "summary": []}]
    content: list[dict[str, Any]] = []
    if reply.text is not None:
        content.append({"type": "output_text", "text": reply.text, "annotations": []})
    if reply.refusal is not None:
        content.append({"type": "refusal", "refusal": reply.refusal})
    if content:
        output.append({"type": "message", "id": f"msg_{number}", "role": "assistant", "content": content})
    output += [
        {
            "type": "function_call",
            "id": f"fc_{number}_{index}",
            "call_id": f"call_{number}_{index}",
            "name": name,
            "arguments": _text(arguments),
        }
        for index, (name, arguments) in enumerate(reply.calls)
    ]
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reply.finish_reason)
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": int(time()),
        "status": "incomplete" if reason else "completed",
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": model,
        "output": output,
        "usage": {
            "input_tokens": tokens[0],
            "input_tokens_details": {"cached_tokens": tokens[0] // 2},
            "output_tokens": tokens[1],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": sum(tokens),
        },
    }


# --- Transcriptions --------------------------------------------------------------------------------------------------
def transcription_answer(content_type: str, body: bytes, *, transcript: str) -> Answer:
    """Answer a form with a `model` and a `file` that has content and a name with a known extension."""
    form = email.message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    parts = {part.get_param("name", header="content-disposition"): part for part in form.get_payload()}
    file = parts.get("file")
    if "model" not in parts or file is None or not file.get_payload(decode=True):
        return error(400, "model and file are needed.")
    if not (file.get_filename() or "").endswith((".ogg", ".mp3", ".m4a", ".mp4", ".wav", ".webm")):
        return error(400, "Invalid file format.")
    return plain({"text": transcript})


def speech_answer(body: dict[str, Any]) -> Answer:
    """Answer a text, a model and a voice with something that begins like an Ogg file."""
    if not all(isinstance(body.get(name), str) and body[name] for name in ("model", "voice", "input")):
        return error(400, "model, voice and input are needed.")
    return Answer(200, b"OggS" + body["input"].encode())


# --- Embeddings ------------------------------------------------------------------------------------------------------
def embeddings_answer(body: dict[str, Any]) -> Answer:
    texts_or_text = body["input"]
    texts = [texts_or_text] if isinstance(texts_or_text, str) else texts_or_text
    if not texts or not all(isinstance(text, str) and text for text in texts):
        return error(400, "input must be a text or a list of texts.")
    vectors = [embed(text, body.get("dimensions") or DIMENSIONS) for text in texts]
    as_base64 = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if as_base64 else vector}
        for index, vector in enumerate(vectors)
    ]
    tokens = sum(len(text) // 4 + 1 for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return plain({"object": "list", "data": data, "model": body["model"], "usage": usage})


def embed(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """Return a vector of length 1. Equal texts have equal vectors; texts that share words have similar ones."""
    vector = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()) or [text]:
        digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()
        vector[int.from_bytes(digest[:4]) % dimensions] += 1.0 if digest[4] % 2 else -1.0
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def openai_error(message: str, **more: object) -> dict[str, object]:
    """The body of an error as OpenAI words it."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None} | more}
