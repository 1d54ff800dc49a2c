"""A small OpenAI-compatible server on a real socket: it answers, calls tools, delays, and fails on request.

In a test:

    with FakeOpenAI() as fake:  # OPENAI_BASE_URL is fake.base_url
        fake.say("Good morning")  # the next answer; without one it uses `reply`, by default an echo
        fake.call_tools(("search", {"words": "pool"}))  # the answer after that
        fake.fail("rate_limited", times=2)
        fake.requests[0].body  # the body of the first request

As a process: `python -m tests.support.fake_openai --port 8190 --latency 1`, controlled over HTTP by the same
names (JSON, no key):

    GET  /_fake/count             {"count", "waiting", "most_waiting"}
    GET  /_fake/requests?since=N  the same and "requests": [{number, path, at, answered_at, body}], of the last 10,000;
                                  times are seconds since 1970
    POST /_fake/behaviour         {latency_s?, reply?, on_word?, seed?}
    POST /_fake/say               {texts: [...]}: the next answers
    POST /_fake/call_tools        {calls: [[name, arguments], ...]}: the next answer
    POST /_fake/fail              {outcome, path?, rate?, times?, wait_s?, headers?}
    POST /_fake/heal              end all failures
    POST /_fake/forget            forget all requests

It refuses what the real server refuses and our adapters could get wrong: tool answers without their calls,
`temperature` or `max_tokens` for a reasoning model, tools while reasoning in Chat Completions.
"""

import argparse
import asyncio
import json
import random
import re
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import time
from typing import Any

from tests.support.http_server import Connection, ThreadedServer
from tests.support.openai_formats import (
    Answer,
    ModelReply,
    chat_completion,
    embeddings_answer,
    error,
    last_of_user,
    plain,
    read_chat,
    read_responses,
    response_object,
    speech_answer,
    transcription_answer,
)

# What our prompts add to a message: times, the summary of older messages, notes.
_ADDED_BY_PROMPT = re.compile(
    r"^\[\d{4}-\d\d-\d\d \d\d:\d\d\] |<earlier>.*?</earlier>\n?|\n*<notes>.*?</notes>", re.DOTALL | re.MULTILINE
)


def own_words(text: str) -> str:
    """Return a message of a prompt without what our prompts add to it."""
    return _ADDED_BY_PROMPT.sub("", text)


@dataclass
class Asked:
    """A received request."""

    number: int
    path: str
    headers: dict[str, str]
    raw: bytes
    at: float
    answered_at: float | None = None

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


@dataclass
class Failure:
    """What is sent instead of the right answer: `answer`, or `reply` in the format of the API. Neither: disconnect."""

    path: str = ""  # suffix of the path; empty: every path
    rate: float = 1.0
    times: int | None = None  # None: until healed
    wait_s: float = 0.0
    answer: Answer | None = None
    reply: ModelReply | None = None
    transcript: str = "What did you say?"  # of every audio file
    trickle: bool = False  # send a byte now and then, without end
    after: int = 0  # number of requests before it begins


OUTCOMES: dict[str, dict[str, Any]] = {
    "rate_limited": {"answer": error(429, "Slow down.", code="rate_limit_exceeded", kind="requests")},
    "no_quota": {"answer": error(429, "You ran out of money.", code="insufficient_quota", kind="insufficient_quota")},
    "error_500": {"answer": error(500, "The server had an error.", kind="server_error")},
    "overloaded": {"answer": error(503, "The engine is overloaded.", kind="server_error")},
    "html_502": {"answer": Answer(502, b"<html>Bad gateway</html>")},
    "unauthorized": {"answer": error(401, "Incorrect API key provided.", code="invalid_api_key")},
    "forbidden": {"answer": error(403, "You may not use this model.", code="permission_denied")},
    "not_found": {"answer": error(404, "The model does not exist.", code="model_not_found")},
    "bad_request": {"answer": error(400, "You said: my secret prompt.", code="invalid_value")},
    "too_long": {"answer": error(400, "Too long.", code="context_length_exceeded")},
    "too_long_unnamed": {"answer": error(400, "This exceeds the available context size, try increasing it")},
    "redirect": {"answer": Answer(307, b"", (("Location", "http://127.0.0.1:9/"),))},
    "error_in_200": {"answer": plain({"error": {"message": "Upstream failed.", "code": 502}})},
    "not_json": {"answer": Answer(200, b"<html>Hello</html>")},
    "truncated": {"answer": Answer(200, b'{"choices": [{"message": {"content": "Hel')},
    "nested": {"answer": Answer(200, b'{"choices":' + b"[" * 100_000)},
    "an_array": {"answer": plain([])},
    "no_answer_in_it": {"answer": plain({"object": "something else"})},
    "wrong_types": {"answer": plain({"choices": [{"message": 7}], "output": 7, "usage": "much", "model": ["x"]})},
    "compressed": {"answer": Answer(200, b"inflating this fails", (("Content-Encoding", "deflate"),))},
    "compressed_429": {"answer": Answer(429, b"inflating this fails", (("Content-Encoding", "gzip"),))},
    "huge": {"answer": Answer(200, b'{"choices": "' + b"x" * 20_000_000 + b'"}')},
    "empty": {"reply": ModelReply(text="")},
    "blank": {"reply": ModelReply(text=" \n\t ")},
    "invisible": {"reply": ModelReply(text="\u200b\u2060")},
    "null": {"reply": ModelReply(text=None)},
    "refusal": {"reply": ModelReply(refusal="I will not.")},
    "filtered": {"reply": ModelReply(text="Half an ans", finish_reason="content_filter")},
    "cut_before_it_began": {"reply": ModelReply(text="", finish_reason="length")},
    "hang": {"wait_s": 3600.0},
    "drop": {},
    "trickle": {"trickle": True},
}


@dataclass
class FakeOpenAI(ThreadedServer):
    """See the module. `reply` is a text or a function of the user's last message. `seed` repeats random failures."""

    port: int = 0
    api_key: str = ""  # empty: requires none
    latency_s: float = 0.0
    reply: str | Callable[[str], str] = "You said: {}"  # {} is the user's last message
    # A word in the user's last message calls this tool; its arguments may be a function of that message.
    on_word: dict[str, tuple[str, Any]] = field(default_factory=dict)
    seed: int | None = None
    max_body_chars: int = 0  # limit of a request, like a small context; 0: no limit
    filtered_words: tuple[str, ...] = ()  # a request that holds one of them is filtered
    filter_status: int = 200  # 200: by the finish reason, 400: by an error
    next_answers: deque[ModelReply | Answer] = field(default_factory=deque)
    failures: list[Failure] = field(default_factory=list)
    requests: deque[Asked] = field(default_factory=lambda: deque(maxlen=10_000))
    count: int = 0
    waiting: int = 0
    most_waiting: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._arrived = threading.Condition()
        self._is_holding = False
        self._held: list[tuple[_Connection, Answer | None]] = []

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def connection(self) -> "_Connection":
        return _Connection(self)

    def say(self, *texts: str) -> None:
        """Queue answers, one per text."""
        self.next_answers.extend(ModelReply(text=text) for text in texts)

    def call_tools(self, *calls: tuple[str, Any], text: str | None = None) -> None:
        """Queue an answer that calls tools: (name, arguments), where the arguments are a dict or raw text."""
        self.next_answers.append(ModelReply(text=text, calls=list(calls), finish_reason="tool_calls"))

    def answer(self, body: Any, *, status: int = 200) -> None:
        """Queue this exact answer."""
        self.next_answers.append(plain(body, status))

    def fail(self, outcome: str, *, headers: dict[str, str] | None = None, **more: Any) -> None:
        """Fail with one of OUTCOMES from now on, always or at a `rate`, without end or for a number of `times`."""
        failure = Failure(**(OUTCOMES[outcome] | more))
        if headers and failure.answer:
            failure.answer = Answer(failure.answer.status, failure.answer.body, tuple(headers.items()))
        self.failures.append(failure)

    def fail_after(self, count: int, outcome: str) -> None:
        """Fail as `fail` does, after `count` more requests."""
        self.failures.append(Failure(**OUTCOMES[outcome], after=self.count + count))

    def heal(self) -> None:
        self.failures.clear()

    def hold(self) -> None:
        """Keep the right answers back until `let_go`."""
        self._is_holding = True

    def let_go(self) -> None:
        """Give the answers that were held, and the next ones at once."""
        self._is_holding = False
        self._loop.call_soon_threadsafe(self._give_held)

    def _give_held(self) -> None:
        held, self._held = self._held, []
        for connection, answer in held:
            connection.answer(answer)

    def forget(self) -> None:
        self.requests.clear()
        self.count = self.most_waiting = 0

    def wait_for_requests(self, count: int, *, timeout_s: float = 60.0) -> list[Asked]:
        """Wait for `count` requests and return all. Fails the test if they do not arrive."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: self.count >= count, timeout_s), (
                f"{self.count} requests arrived, not {count}"
            )
        return list(self.requests)

    # --- answering -----------------------------------------------------------------------------------------------
    def handle(self, method: str, path: str, headers: dict[str, str], raw: bytes, connection: "_Connection") -> None:
        path, _, query = path.partition("?")
        if path.startswith("/_fake/"):
            connection.write(self._handle_control(path.removeprefix("/_fake/"), query, raw))
            return
        asked = Asked(number=self.count, path=path, headers=headers, raw=raw, at=time())
        with self._arrived:
            self.requests.append(asked)
            self.count += 1
            self._arrived.notify_all()
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        connection.asked = asked
        failure = self._find_failure(path)
        if failure is None:
            answer: Answer | None = self._right_answer(method, path, headers, raw)
        elif failure.trickle:
            connection.trickle()
            return
        else:
            answer = self._format_answer(path, failure.reply) if failure.reply else failure.answer
        wait_s = failure.wait_s if failure else self.latency_s
        if self._is_holding and failure is None:
            self._held.append((connection, answer))
        elif wait_s:
            self._loop.call_later(wait_s, connection.answer, answer)
        else:
            connection.answer(answer)

    def _find_failure(self, path: str) -> Failure | None:
        for failure in self.failures:
            is_due = self.count > failure.after and failure.times != 0 and path.endswith(failure.path)
            if not is_due or self._random.random() >= failure.rate:
                continue
            if failure.times is not None:
                failure.times -= 1
            return failure
        return None

    def _right_answer(self, method: str, path: str, headers: dict[str, str], raw: bytes) -> Answer:
        if self.api_key and headers.get("authorization") != f"Bearer {self.api_key}":
            return error(401, "Incorrect API key provided.", code="invalid_api_key")
        if (method, path) == ("GET", "/v1/models"):
            return plain({"object": "list", "data": [{"id": "fake-model", "object": "model", "owned_by": "fake"}]})
        if (method, path) == ("POST", "/v1/audio/transcriptions"):
            return transcription_answer(headers.get("content-type", ""), raw, transcript=self.transcript)
        try:
            return self._answer_to(method, path, json.loads(raw))
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            return error(400, f"We could not read the body of your request: {exc!r}")

    def _answer_to(self, method: str, path: str, body: Any) -> Answer:
        match (method, path):
            case ("POST", "/v1/chat/completions"):
                problem, last_message, tools = read_chat(body)
            case ("POST", "/v1/responses"):
                problem, last_message, tools = read_responses(body)
            case ("POST", "/v1/audio/speech"):
                return speech_answer(body)
            case ("POST", "/v1/embeddings"):
                is_queued = self.next_answers and isinstance(self.next_answers[0], Answer)
                return self.next_answers.popleft() if is_queued else embeddings_answer(body)
            case _:
                return error(404, "Invalid URL", code="unknown_url")
        if problem:
            return error(400, problem)
        text = json.dumps(body, ensure_ascii=False)
        if self.max_body_chars and len(text) > self.max_body_chars:
            return error(400, "This is too long.", code="context_length_exceeded")
        if any(word in text for word in self.filtered_words):
            if self.filter_status != 200:
                return error(self.filter_status, "The prompt was flagged.", code="content_filter")
            return self._format_answer(path, ModelReply(text="", finish_reason="content_filter"), body)
        return self._format_answer(path, self._next_answer(last_message, tools, body), body)

    def _next_answer(self, last_message: str | None, tools: set[str], body: dict[str, Any]) -> ModelReply | Answer:
        last_message = last_message and own_words(last_message)
        if self.next_answers:
            return self.next_answers.popleft()
        if last_message is not None:
            for word, (name, arguments) in self.on_word.items():
                if word in last_message and name in tools:
                    values = arguments(last_message) if callable(arguments) else arguments
                    return ModelReply(calls=[(name, values)], finish_reason="tool_calls")
        if callable(self.reply):
            return ModelReply(text=self.reply(own_words(last_of_user(body))))
        return ModelReply(text=self.reply.replace("{}", (last_message or "(nothing)")[:500]))

    def _format_answer(self, path: str, reply: ModelReply | Answer, body: Any = None) -> Answer:
        if isinstance(reply, Answer):
            return reply
        model = body.get("model") if isinstance(body, dict) else "fake-model"
        tokens = (len(json.dumps(body)) // 4 + 1, len(reply.text or "") // 4 + 1)
        to_body = response_object if path.endswith("/responses") else chat_completion
        return plain(to_body(self.count, model, tokens, reply))

    # --- control -------------------------------------------------------------------------------------------------
    def _handle_control(self, what: str, query: str, raw: bytes) -> Answer:
        try:
            return plain(self._control(what, query, json.loads(raw) if raw else {}))
        except (KeyError, TypeError, ValueError) as exc:
            return plain({"error": repr(exc)}, 400)

    def _control(self, what: str, query: str, values: dict[str, Any]) -> dict[str, Any]:
        counted = {"count": self.count, "waiting": self.waiting, "most_waiting": self.most_waiting}
        match what:
            case "count":
                return counted
            case "requests":
                since = int(query.removeprefix("since=") or 0)
                return counted | {"requests": [_as_json(asked) for asked in self.requests if asked.number >= since]}
            case "behaviour":
                for name, value in values.items():
                    if name not in {"latency_s", "reply", "on_word", "seed"}:
                        raise KeyError(name)
                    setattr(self, name, value)
                self._random = random.Random(values["seed"]) if "seed" in values else self._random
            case "say":
                self.say(*values["texts"])
            case "call_tools":
                self.call_tools(*((name, arguments) for name, arguments in values["calls"]))
            case "fail":
                self.fail(values.pop("outcome"), **values)
            case "heal":
                self.heal()
            case "forget":
                self.forget()
            case other:
                raise KeyError(other)
        return {}


def _as_json(asked: Asked) -> dict[str, Any]:
    try:
        body = asked.body
    except ValueError:
        body = None
    return {
        "number": asked.number,
        "path": asked.path,
        "at": asked.at,
        "answered_at": asked.answered_at,
        "body": body,
    }


# --- The wire --------------------------------------------------------------------------------------------------------
class _Connection(Connection):
    server: "FakeOpenAI"

    def __init__(self, server: "FakeOpenAI") -> None:
        super().__init__(server)
        self.asked: Asked | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._no_longer_waits()

    def handle(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        self.server.handle(method, target, headers, body, self)

    def answer(self, answer: Answer | None) -> None:
        """Send `answer`; None breaks the connection off."""
        self._no_longer_waits()
        if answer is None:
            self.drop()
        else:
            self.write(answer)

    def write(self, answer: Answer) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer.encoded())

    def trickle(self) -> None:
        if not self.transport.is_closing():
            if not self._received:
                self._received += b"trickling"
                self.transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            self.transport.write(b"1\r\n \r\n")
            self.server._loop.call_later(0.05, self.trickle)

    def _no_longer_waits(self) -> None:
        if self.asked:
            self.asked.answered_at = time()
            self.asked = None
            self.server.waiting -= 1


def main() -> None:
    parser = argparse.ArgumentParser(description="A fake OpenAI-compatible server.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--api-key", default="", help="empty: ask for none")
    parser.add_argument("--latency", type=float, default=0.0, dest="latency_s", help="seconds until each answer")
    parser.add_argument("--reply", default="You said: {}", help="{} is the user's last message")
    parser.add_argument("--fail", action="append", default=[], help="OUTCOME:RATE, like error_500:0.2")
    parser.add_argument("--seed", type=int)
    values = vars(parser.parse_args())
    failures = values.pop("fail")
    fake = FakeOpenAI(**values)
    for failure in failures:
        outcome, _, rate = failure.partition(":")
        fake.fail(outcome, rate=float(rate or 1))
    with suppress(KeyboardInterrupt):
        asyncio.run(fake.serve(lambda: print(f"fake model server on {fake.base_url}", flush=True)))  # noqa: T201


if __name__ == "__main__":
    main()
