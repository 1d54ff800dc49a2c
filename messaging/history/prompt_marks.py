"""Remove what only our prompts may contain from a model's answer: models echo it."""

import re

_NAMES = "notes|earlier|messages|result"
_ESCAPED = re.compile(rf"&lt;(\s?/?\s?(?:{_NAMES})\b[^<>&]{{0,100}})&gt;", re.IGNORECASE)
_EMPTY = re.compile(rf"<\s*(?:{_NAMES})\b[^<>/]*/\s*>", re.IGNORECASE)
_BLOCK = re.compile(rf"<\s*({_NAMES})\b[^<>]*>.*?<\s*/\s*\1\s*>", re.IGNORECASE | re.DOTALL)
_UNOPENED = re.compile(rf"\A.*<\s*/\s*(?:{_NAMES})\s*>", re.IGNORECASE | re.DOTALL)
_UNCLOSED = re.compile(rf"<\s*(?:{_NAMES})\b[^<>]*>.*\Z", re.IGNORECASE | re.DOTALL)
_MARKUP = r"[*_`]{0,3}"
_ISO_DATE = r"\d{4}-\d\d-\d\d"
_CLOCK = r"\d{1,2}:\d\d(?::\d\d)?"
_ZONE = r"(?:\s?[A-Za-z+-][\w/+:-]{0,40})?"
_AFTER = rf"{_MARKUP}[^\S\n]*:?[^\S\n]*"
_TIME = re.compile(
    rf"{_MARKUP}[\[［]\s*(?:\w{{2,12}},?[ ])?{_ISO_DATE}[ T]+{_CLOCK}{_ZONE}\s*[\]］]{_AFTER}",
)
_LINE_TIME = re.compile(  # in round brackets, or as other countries write it: only at the beginning of a line
    rf"^{_MARKUP}[\[(](?:{_ISO_DATE}|\d{{1,2}}[/.]\d{{1,2}}[/.]\d{{4}}),?[ T]{_CLOCK}"
    rf"(?:\s?[AaPp]\.?[Mm]\.?)?[\])]{_AFTER}",
    re.MULTILINE,
)
_SENTENCES = re.compile(
    r"\[(?:The conversation begins\.|You cannot see the images that were sent\.|Result of a tool:"
    r"|Used the tool [\w-]{1,64}\."
    r"|a message that cannot be shown here)\]\s*"
    r"|The contact's last messages are too long to be shown whole: each is shown, shortened where it says so\.\s*"
)
_NUMBERED = re.compile(r"^\[\d+\] \d{4}-\d\d-\d\d \d\d:\d\d [^:\n]{1,40}: ", re.MULTILINE)
_NOW = re.compile(r"^Now: \w+ \d{4}-\d\d-\d\d \d\d:\d\d[^\n]{0,40}\.$\n?", re.MULTILINE)
_QUOTE = re.compile(r"^\(in reply to “[^”\n]*”\)[^\S\n]*", re.MULTILINE)
_LEFT_OUT = re.compile(r"\n?\[… [\d,]+ of [\d,]+ characters left out …\]\n?")
_FACTS = re.compile(
    r"^(?:Known about the contact|Notes of our staff; the contact does not see them|Relevant earlier messages"
    r"|Already done for the latest messages; do not repeat):"
    r"[^\S\n]*\n?"
    r"(?:- [^\n]*(?:\n|\Z))*",
    re.MULTILINE,
)
_EMPTY_CODE = re.compile(r"```\w*\s*```|(?<!`)``(?!`)|(?<!\*)\*{4}(?!\*)")
_BLANK_LINES = re.compile(r"\n{3,}")


def strip_prompt_marks(text: str) -> str:
    """Return an answer without blocks like `<notes>…</notes>`, times like `[2026-11-27 03:15]` and our other marks.

    A block without its end is removed to the end of the text, one without its beginning from there. May be empty.
    """
    stripped = _EMPTY.sub("", _ESCAPED.sub(r"<\1>", text))
    stripped = _BLOCK.sub("", stripped) if "/" in stripped else stripped
    stripped = _UNOPENED.sub("", stripped)
    stripped = _UNCLOSED.sub("", stripped)
    for pattern in (_NUMBERED, _TIME, _LINE_TIME, _SENTENCES, _NOW, _FACTS, _QUOTE):
        stripped = pattern.sub("", stripped)
    stripped = _LEFT_OUT.sub("\n", stripped)
    if stripped != text:
        stripped = _EMPTY_CODE.sub("", stripped)
    return text if stripped == text else _BLANK_LINES.sub("\n\n", stripped).strip()
