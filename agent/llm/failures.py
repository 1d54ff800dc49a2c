"""Find out what a model server's failure means, by the many wordings of servers."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from agent.llm.base import ContentFiltered, ContextTooLong, ModelError, ModelRefused, ModelUnavailable
from whatsapp_agent.http.retry_after import parse_retry_after

_MAX_TEXT_CHARS = 4000
_TEXT_KEYS = frozenset(  # of an error; others, such as pydantic's `input`, may quote the prompt
    [
        "message",
        "msg",
        "detail",
        "details",
        "error",
        "errors",
        "raw",
        "type",
        "code",
        "status",
        "reason",
        "param",
        "loc",
        "metadata",
        "innererror",
        "title",
    ]
)

_CONTEXT_TOO_LONG = re.compile(
    r"context.{0,3}(length|window|size|limit).{0,40}(exceed|overflow|too|limit|reach|not enough|insufficient)"
    r"|(exceed|longer than|greater than|larger than|overflow|reached|beyond|too (long|large) for).{0,60}"
    r"(context|max_model_len|model length|max_seq_len|token limit|prompt length)"
    r"|maximum (context|prompt|input|model|sequence) .{0,20}(length|window|tokens?|size)|max_?_?prompt_?tokens"
    r"|context_(length|window|size)|exceed_context|context (the )?overflow|contextlength"
    r"|(prompt|input|message|conversation|text|request)s?( token)?( length| size| count)? (is|are|was|were)? ?"
    r"too (long|large|big)"
    r"|too many (input |prompt )?tokens|(input|prompt) (tokens?|length|token count).{0,60}(exceed|longer|greater|too)"
    r"|tokens to keep from the initial prompt|requested token count|tokens_limit_reached|request_too_large"
    r"|inputs?`? ?(tokens? )?\+.{0,20}max_(new_)?tokens|`?inputs`? must have less than"
    r"|input length and .?max_tokens.? exceed|reduce (the length of|your message|the size of) |range of input length"
    r"|prompt contains \d+ tokens|exceeds? max(imum)? length|prompt exceeds|exceed.{0,20}max(imum)? .{0,40}tokens"
    r"|string.{0,10}too long|string_above_max_length|request (body |entity |payload )?(size )?(is )?(too large|exceeds)"
    r"|payload too large|input token|max_tokens.{0,20}must be at least 1, got -|physical batch size"
    r"|\bn_ctx\b|kv cache (is )?full|slot context|sequence (length )?(is )?too long"
    r"|token limit exceeded|tokens exceeded"
    r"|\btokens? .{0,30}(greater|larger|longer|more) than|number of tokens .{0,30}exceed|total tokens exceed"
    r"|(prompt|input) (has|of) \d+ tokens|at most \d+ (input |prompt )?tokens|too many (total )?(text )?bytes"
    r"|exceeds? (the )?model.s (maximum )?(length|limit)|contexte? .{0,20}dépass|contexto .{0,30}(largo|longo|exced)"
    r"|上下文.{0,6}(过长|超)"
    r"|context (shift|length|size|window)|prompt (太长|超长)|超出.{0,12}(长度|上下文|限制)|输入.{0,6}(过长|超)",
    re.IGNORECASE | re.DOTALL,
)
_LIMIT_TOO_LARGE = re.compile(  # the answer's bound, not the prompt
    r"max_(completion_|output_|new_)?tokens\W.{0,40}(too large|exceeds|must be less|supports at most)"
    r"(?!.*(context|inputs))",
    re.IGNORECASE | re.DOTALL,
)
_REQUEST_TOO_LARGE = re.compile(  # a rate limit that no waiting helps: this one request is above it
    r"request (is )?too large|reduce (your message|the length|the size)|tokens must be reduced|prompt is too long", re.I
)
_FILTERED = re.compile(
    r"content.?(filter|management.?policy|policy|moderation|exists risk|violates|blocked)|responsibleaipolicy"
    r"|data_?inspection_?failed|inappropriate content|usage (policy|policies|guidelines)|moderation_blocked|was flagged"
    r"|invalid_prompt|safety.?(system|check|filter|policy|settings|reasons)|prohibited_?content|high risk|new_sensitive"
    r"|flagged (by|for|as)|moderation (failed|error)|(prompt|message|input|content) (was |is |has been )?blocked"
    r"|blocked (due to|for) |guardrail|(unsafe|harmful|disallowed|objectionable|nsfw) (content|material|input|prompt)"
    r"|content is not allowed|violat\w* .{0,20}(terms|polic)"
    r"|sensitive (content|information|words)|blockreason|blocked by (content|safety|policy)|敏感|不安全",
    re.IGNORECASE,
)
_NO_QUOTA = re.compile(
    r"quota|billing|insufficient.{0,12}(balance|funds|credit)|credit.{0,20}(balance|low|limit|exhaust|insufficient)"
    r"|(usage|monthly|weekly|daily|plan) limit|upgrade your plan"
    r"|out of credits|run out of|key limit exceeded|payment|余额|欠费|arrears|spend(ing)? limit",
    re.IGNORECASE,
)
_PER_MINUTE = re.compile(
    r"per.?(minute|second|hour)|\b[rt]p[mshd]\b|(try|retry)( again)? in \d|retrydelay", re.IGNORECASE
)
_BAD_KEY = re.compile(
    r"authentication (failed|error)|unauthori[sz]ed"
    r"|api.?key.{0,20}(not valid|invalid|incorrect|missing|expired)|(invalid|incorrect).{0,5}api.?key",
    re.I,
)
_NO_MODEL = re.compile(
    r"model.{0,80}(not found|does ?n.t exist|not exist|not a valid model|is not available|not loaded|decommissioned"
    r"|deprecated|retired|not supported$|no longer available)|no such model"
    r"|no models? (is |are )?loaded|(invalid|unknown) model\b|not a valid model|model_not_found|deploymentnotfound",
    re.IGNORECASE | re.DOTALL,
)

_NO_MODEL_THERE = re.compile(  # also as a server error; "loading" passes by itself
    r"model.{0,80}(not found|does ?n.t exist|not exist)|no such model|no available channel", re.IGNORECASE | re.DOTALL
)

_REFUSED = (
    r"(unsupported|not (currently |yet )?support|n[o']t support|no endpoints found that support|not permitted"
    r"|not allowed|not enabled|not available|unrecognized|unknown|unexpected|extra_forbidden|extra inputs|requires"
    r"|must be|deprecated|only the default|invalid|cannot|forbidden|not implemented|incompatible|only 1|removed)"
)
_IMAGES = r"\b(images?|image_url|input_image|vision|multi-?modal\w*)\b"
_TOOLS = r"(\btools?\b|tool_choice|function.?call|\bfunctions?\b)"
_UNSUPPORTED = tuple(  # fields of Capabilities, the most special wording first
    (name, re.compile(pattern, re.IGNORECASE | re.DOTALL))
    for name, pattern in (
        (
            "images",
            rf"{_IMAGES}.{{0,80}}({_REFUSED}|only|text)|({_REFUSED}|text-?only|does not have|missing).{{0,80}}{_IMAGES}"
            r"|mmproj|not a (vision|multi-?modal) model",
        ),
        ("tools_while_reasoning", r"tools? with .?reasoning_effort"),
        (
            "limit_name",
            rf"{_REFUSED}.{{0,60}}max_(completion_|output_)?tokens|max_(completion_|output_)?tokens.{{0,60}}{_REFUSED}",
        ),
        ("temperature", rf"temperature.{{0,120}}{_REFUSED}|{_REFUSED}.{{0,60}}temperature|\btemperature$"),
        (
            "system_role",
            r"system.{0,3}(role|message|prompt|instruction)s?\b.{0,40}(not|n't|unsupport|unexpected)"
            r"|(not support|n't support|unsupported|unexpected|invalid|not enabled|unknown).{0,40}\bsystem\b"
            r"|system['\"]? is not|roles? (must|should) be (one of )?.{0,3}user|should be .?user.? or"
            r"|developer instruction|only user(,| and) .{0,20}roles|role.{0,20}\bsystem\b.{0,40}not",
        ),
        (
            "any_role_order",
            r"alternat|consecutive|roles? must|after role|conversation roles|first message must|must (start|begin) with"
            r"|(2|two) or more assistant|same role|expected .{0,20}role|order of roles",
        ),
        ("encrypted_reasoning", r"encrypted"),
        (
            "null_content",
            r"content\b.{0,80}(null|none|expected a string|valid string|non-empty|empty|required|missing|must be)"
            r"|(null|none|nil|empty).{0,60}content\b",
        ),
        (
            "extra_fields",
            r"extra.?(inputs|_forbidden|fields)|extra_forbidden|additional.?propert|reasoning_content|thought_?signature"
            r"|(unrecognized|unknown|unexpected|unsupported|invalid)"
            r" (key|field|propert|request argument|parameter|name|argument)"
            r"|propert.{0,60}unsupported|item .{0,20}with id|\breasoning(_details)?\b|unknown item",
        ),
        (
            "tools",
            rf"jinja|tool use|tool.?call(ing|s)? .{{0,20}}support|{_TOOLS}.{{0,120}}{_REFUSED}"
            rf"|{_REFUSED}.{{0,120}}{_TOOLS}",
        ),
    )
)


def failure(status: int, error: Any, headers: Mapping[str, str] | None = None) -> ModelError:
    """Return what a server's failure means. `error` is its body: only a short type or code of it is repeated."""
    name = _short_name(error)
    text = _text_of(error)
    message = f"The model server answered {status}{f' ({name})' if name else ''}."
    wait_s = parse_retry_after(headers) if headers is not None else None
    if status == 413 or (status not in {401, 402, 403, 429} and _is_context_too_long(text)):
        return ContextTooLong(message)
    if status == 429 and _REQUEST_TOO_LARGE.search(text):
        return ContextTooLong(message)
    if status in {400, 403, 422, 451, 500} and _FILTERED.search(text):
        return ContentFiltered(message)
    if (
        status == 402
        or "quota" in name
        or "billing" in name
        or (status in {400, 403, 429} and _NO_QUOTA.search(text) and not _PER_MINUTE.search(text))
    ):
        return ModelUnavailable(message, code="insufficient_quota", retry_after_s=wait_s)
    if status == 429 or "rate_limit" in name:
        return ModelUnavailable(message, code="rate_limited", retry_after_s=wait_s)
    if status in {408, 504}:
        return ModelUnavailable(message, code="timeout", retry_after_s=wait_s)
    if status in {401, 403} or (status == 400 and _BAD_KEY.search(text)):
        return ModelRefused(message, code="unauthorized")
    unsupported = _unsupported(status, text)
    if status >= 500 and not unsupported and _NO_MODEL_THERE.search(text):
        return ModelRefused(message, code="model_not_found")
    if status >= 500 or status in {409, 425}:
        return ModelUnavailable(message, code="server_error", retry_after_s=wait_s, unsupported=unsupported)
    if status == 404 or (status in {400, 422} and not unsupported and _NO_MODEL.search(text)):
        return ModelRefused(message, code="model_not_found", unsupported=unsupported)
    if status < 400:
        return ModelRefused(f"{message} Is OPENAI_BASE_URL the right address?", code="redirect")
    return ModelRefused(message, code="bad_request", unsupported=unsupported)


def _is_context_too_long(text: str) -> bool:
    return bool(_CONTEXT_TOO_LONG.search(text)) and not _LIMIT_TOO_LARGE.search(text)


def _unsupported(status: int, text: str) -> tuple[str, ...]:
    found = tuple(name for name, pattern in _UNSUPPORTED if pattern.search(text))
    if status == 404:  # the model is unknown, unless it says that a feature is
        found = tuple(
            name for name in found if name in {"tools", "extra_fields", "images"} and not _NO_MODEL.search(text)
        )
    return found or (("tools",) if status == 501 else ())


def _short_name(error: Any) -> str:
    for key in ("code", "type"):
        name = error.get(key) if isinstance(error, dict) else None
        if isinstance(name, str) and re.fullmatch(r"[A-Za-z][\w.-]{0,63}", name, re.ASCII):
            return name.lower()
    return ""


def _text_of(error: Any) -> str:
    return " ".join(_texts(error, depth=6))[:_MAX_TEXT_CHARS]


def _texts(value: Any, *, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value[:_MAX_TEXT_CHARS]
    elif isinstance(value, dict) and depth:
        for key, inner in value.items():
            if str(key).lower() in _TEXT_KEYS:
                yield from _texts(inner, depth=depth - 1)
    elif isinstance(value, list) and depth:
        for inner in value[:20]:
            yield from _texts(inner, depth=depth - 1)
