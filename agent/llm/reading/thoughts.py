"""Remove what a model thinks from what it answers.

Reasoning models mark their thoughts in the text when the server does not parse them. Formats: the chat templates of
the models that `_OPEN` names, and https://cookbook.openai.com/articles/openai-harmony, as of 2026-11.
"""

import json
import re

from agent.llm.reading.spans import CodeSpans, join_around_gap
from agent.llm.reading.written_calls import CALL_MARK

_NAME = (
    r"(?!end[_-])(?:[a-z]{1,12}[:_-]){0,2}(?:inner|ant|re)?"
    r"(?:think|thinking|thoughts?|reason|reasoning|analysis|monologue|scratchpad|reflection|planning|cot"
    r"|chain[_-]of[_-]thoughts?)"
    r"(?:[_-](?:process|content|text|block|steps?|trace|budget_reflect))?"
)
_BAR = "[|｜]"
_WORD = r"(?:think|thinking|thought|thoughts|reasoning|analysis)"
_OPEN = (
    rf"(?:<|&lt;)\s?{_NAME}(?:\s[^<>]{{0,200}})?(?:>|&gt;)"  # DeepSeek, Qwen, GLM, EXAONE, Seed and most others
    r"|\[(?-i:(?:BEGIN_|START_)?(?:THINK|THINKING|THOUGHT|REASONING))\]"  # Mistral
    r"|◁think▷"  # Kimi
    rf"|<{_BAR}?(?:begin|start)_(?:of_)?{_WORD}{_BAR}?>"  # Cohere and others
    rf"|<{_BAR}{_WORD}{_BAR}>|<{_BAR}{_WORD}_(?:start|begin){_BAR}>"
    r"|<\|channel>[ \t]*thought\b"  # Gemma
    r"|<unused94>(?:\s?thought\b)?"  # MedGemma
    r"|<\|inner_prefix\|>|\[unused16\]"  # Apertus, Pangu
    r"|<\|im_start\|>\s?think\b"  # s1
)
_CLOSE = (
    rf"(?:<|&lt;)\s?\\?/\s?{_NAME}\s{{0,9}}(?:>|&gt;)|\[(?-i:/|END_)(?-i:THINK|THINKING|THOUGHT|REASONING)\]|◁/think▷"
    rf"|<{_BAR}?end_(?:of_)?{_WORD}{_BAR}?>|<{_BAR}/{_WORD}{_BAR}>|<{_BAR}{_WORD}_end{_BAR}>|<channel\|>|<unused95>"
    r"|<\|inner_suffix\|>|\[unused17\]|<\|im_end\|>\s{0,9}<\|im_start\|>\s?answer\b"
    r"|<\|end\|>\s{0,9}<\|begin\|>assistant\s{0,9}<\|content\|>"  # Solar
)
_MARK = re.compile(rf"(?P<ticks>`+)|(?P<open>{_OPEN})|(?P<close>{_CLOSE})|<{_NAME}\s*/>", re.IGNORECASE)
_ANY = re.compile(rf"{_OPEN}|{_CLOSE}|<{_NAME}\s*/>", re.IGNORECASE)
_NAMED = re.compile(
    r"\b(?:tags?|tokens?|markers?|elements?|etiquetas?|balises?|marcas?|тег|标签)[ \t]+\Z", re.IGNORECASE
)
_QUOTES = "\"'“”‘’«»„"

_HARMONY = re.compile(r"<\|(start|channel|constrain|message|end|return|call)\|>")
_HARMONY_OR_CODE = re.compile(rf"(?P<ticks>`+)|{_HARMONY.pattern}")
_HARMONY_WITHOUT_MARKS = re.compile(
    r"\s*(?:analysis|commentary)(?=[A-Z\"'¿¡]|[^\x00-\x7f]|.*assistant\s{0,3}(?:final|commentary))", re.DOTALL
)
_FINAL_WITHOUT_MARKS = re.compile(r"assistant\s{0,3}final")
_CALL_WITHOUT_MARKS = re.compile(r"commentary\s+to=(?:functions\.)?([\w.-]+?)\s*(?:code|json)?\s*(?=\{)")
_HEADED = re.compile(  # Granite, Ollama
    r"\s*(?:Here is my thought process:.*?(?:Here is my response:|\Z)|Thinking\.\.\.\n.*?\.\.\.done thinking\.)",
    re.DOTALL,
)
_DETAILS = re.compile(  # as chat interfaces show thoughts
    r"<details\b[^<>]{0,200}\btype=[\"']?reasoning\b[^<>]{0,200}>.*?(?:</details>|\Z)"
    r"|<details[^<>]{0,200}>\s{0,9}<summary>[^<>]{0,100}(?:think|thought|reason)[^<>]{0,100}</summary>.*?(?:</details>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_PAIR = re.compile(r"\[(/?)(think|thinking|thought|reasoning)\]", re.IGNORECASE)
_WRAPPER = re.compile(
    r"\s*<(answer|response|final|final_answer|final_response|output|reply)>(?P<inner>.*?)(?:</\1>\s*|\Z)\Z",
    re.DOTALL | re.IGNORECASE,
)
_SPECIAL = (
    r"<\|(?:im_start|im_end|im_sep|eot_id|eom_id|eot|endoftext|end_of_text|begin_of_text|end|return|assistant|user"
    r"|begin_of_solution|end_of_solution|begin_of_box|end_of_box|START_RESPONSE|END_RESPONSE|END_OF_TURN_TOKEN"
    r"|start_header_id|end_header_id|content|begin|start)\|>|<(?:start|end)_of_turn>|<turn\|>|<\|turn>|</?s>|<eos>"
    r"|<[｜|](?:end|begin)[▁_]of[▁_]sentence[｜|]>|\[/?INST\]|<bos>|<\|header_start\|>|<\|header_end\|>"
    r"|<\|CHATBOT_TOKEN\|>|<\|endofprompt\|>|<extra_id_\d>|<SPECIAL_\d{1,3}>"
)
_NEXT_TURN = re.compile(  # the model goes on with what others might say
    r"(?:<\|(?:im_end|eot_id|eot|end|endoftext)\|>|<end_of_turn>|</s>)\s{0,9}"
    r"(?:<\|im_start\|>|<\|start_header_id\|>|<\|header_start\|>|<start_of_turn>|<\|start\|>|<s>)?\s{0,9}"
    r"(?:<\|)?(?:user|human|system|tool|ipython)\b"
)
_ROLE = re.compile(r"\A\s*(?:assistant|model)\n+(?=\S)")  # left of a header whose marks the server removed
_LEADING = re.compile(rf"(?:{_SPECIAL})\s*(?:assistant\b\s*|model\b\s*)?")
_TRAILING = re.compile(rf"(?:{_SPECIAL})\Z")
_MAX_SPECIAL_CHARS = 32


def remove_thoughts(text: str) -> str:
    """Return the answer in `text`: blocks of thoughts anywhere are removed, closed or not.

    Where only a closing mark stands, what comes before it is thought. Marks in code, in quotes and behind the word
    "tag" are talked about and stay.
    """
    if not any(mark in text for mark in ("<", "[", "◁", "&lt;")) and not _HARMONY_WITHOUT_MARKS.match(text):
        text = text[found.end() :] if (found := _HEADED.match(text)) else text
        return _ROLE.sub("", text)
    text = _read_harmony(text)
    if "<details" in text:
        text = _DETAILS.sub("", text)
    if any(found[1] for found in _PAIR.finditer(text)):  # only where one is closed: people write "[thinking]" too
        text = _PAIR.sub(lambda found: found[0].upper(), text)
    if _ANY.search(text):
        text = _remove_blocks(text)
    if found := _HEADED.match(text):
        text = text[found.end() :]
    text = _remove_special_tokens(text.strip())
    return wrapped["inner"].strip() if (wrapped := _WRAPPER.match(text)) else text


def _remove_blocks(text: str) -> str:
    code = CodeSpans(text)
    answer = ""
    visible_from = at = named = 0
    thinking = False
    while found := _MARK.search(text, at):
        at = found.end()
        if found.lastgroup == "ticks":
            if not thinking and (end := code.end(found.start(), len(found[0]))) > 0:
                at = end
        elif found.lastgroup == "open":
            if thinking:
                continue
            if _is_talked_about(text, found):
                named += 1
                continue
            answer = join_around_gap(answer, text[visible_from : found.start()])
            thinking, visible_from = True, at
        elif found.lastgroup == "close":
            if not thinking and (named or _is_talked_about(text, found)):
                named = max(0, named - 1)
                continue
            thinking, visible_from = False, at
        elif not thinking:  # <think/>
            answer = join_around_gap(answer, text[visible_from : found.start()])
            visible_from = at
    if thinking:
        call = CALL_MARK.search(text, visible_from)  # some models forget to stop thinking before they call a tool
        return join_around_gap(answer, text[call.start() :]) if call else answer
    return join_around_gap(answer, text[visible_from:])


def _remove_special_tokens(text: str) -> str:
    """Remove the marks of a chat template around an answer."""
    at = 0
    while found := _LEADING.match(text, at):
        at = found.end()
    text = _ROLE.sub("", text[at:])
    if "`" not in text and (found := _NEXT_TURN.search(text)):
        text = text[: found.start()]
    while found := _TRAILING.search(text, max(0, len(text) - _MAX_SPECIAL_CHARS)):
        text = text[: found.start()].rstrip()
    return text


def _is_talked_about(text: str, mark: re.Match[str]) -> bool:
    before, after = text[mark.start() - 1 : mark.start()], text[mark.end() : mark.end() + 1]
    if before and after and before in _QUOTES and after in _QUOTES:
        return True
    return bool(_NAMED.search(text, max(0, mark.start() - 20), mark.start()))


# --- Harmony ------------------------------------------------------------------------------------------------------


def _read_harmony(text: str) -> str:
    """Return the final channel of an answer in OpenAI's harmony format, and its tool calls as `<tool_call>`s."""
    if _HARMONY_WITHOUT_MARKS.match(text):
        return _read_harmony_without_marks(text)
    if not any(mark in text for mark in ("<|message|>", "<|channel|>")) or _is_all_code(text):
        return text
    final, other, calls = [], [], []
    for header, content in _harmony_messages(text):
        recipient = re.search(r"\bto=([^\s<]+)", header)
        channel = re.search(r"\|channel\|\s*(\w+)", header)
        role = header.partition("|channel|")[0].split()
        if recipient:
            calls.append(_as_tool_call(recipient[1], content))
        elif role and role[0] not in {"assistant", "model"}:
            continue
        elif channel and channel[1] == "final":
            final.append(content)
        elif not channel or channel[1] == "commentary":
            other.append(content)
    parts = [part.strip() for part in (final or other)]
    return "\n\n".join([*filter(None, parts), *calls])


def _harmony_messages(text: str) -> list[tuple[str, str]]:
    """Split into pairs of header and content. Servers strip some of the marks."""
    pieces = _HARMONY.split(text)
    first, marks = pieces[0], list(zip(pieces[1::2], pieces[2::2], strict=True))
    messages: list[tuple[str, str]] = []
    header, in_header = "", False
    if (
        marks
        and marks[0][0] in {"message", "constrain"}
        and (found := re.match(r"\s*(analysis|commentary|final)\b", first))
    ):
        header, in_header = f"|channel|{found[1]} {first[found.end() :]}", True
    elif first.strip():
        messages.append(("", first))
    for mark, following in marks:
        if mark == "message":
            messages.append((header, following))
            header, in_header = "", False
        elif mark in {"end", "return", "call"}:
            header, in_header = "", False
            if following.strip():
                messages.append(("", following))
        else:
            header = f"{header if in_header else ''} {'' if mark == 'start' else f'|{mark}|'}{following}"
            in_header = True
    return messages


def _read_harmony_without_marks(text: str) -> str:
    """The same where the server stripped the marks and left the names: `analysis…assistantfinal…`."""
    answer = None
    for final in _FINAL_WITHOUT_MARKS.finditer(text):
        answer = text[final.end() :]
    if answer is not None:
        return answer
    if call := _CALL_WITHOUT_MARKS.search(text):
        return _as_tool_call(call[1], text[call.end() :])
    return ""


def _as_tool_call(name: str, content: str) -> str:
    try:
        arguments, _ = json.JSONDecoder().raw_decode(content.strip() or "{}")
    except (ValueError, RecursionError):
        arguments = content.strip()
    call = {"name": name.removeprefix("functions."), "arguments": arguments}
    return f"<tool_call>{json.dumps(call, ensure_ascii=False)}</tool_call>"


def _is_all_code(text: str) -> bool:
    """Whether every mark of the harmony format stands in code."""
    code, at = CodeSpans(text), 0
    while found := _HARMONY_OR_CODE.search(text, at):
        if not found["ticks"]:
            return False
        end = code.end(found.start(), len(found[0]))
        at = end if end > 0 else found.end()
    return True
