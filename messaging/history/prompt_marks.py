"""Remove what only our prompts may contain from a model's answer: models echo it."""

import re

_NAMES = "notes|earlier|messages|result"
_BLOCK = re.compile(rf"<\s*({_NAMES})\b[^<>]*>.*?<\s*/\s*\1\s*>", re.IGNORECASE | re.DOTALL)
_UNOPENED = re.compile(rf"\A.*<\s*/\s*(?:{_NAMES})\s*>", re.IGNORECASE | re.DOTALL)
_UNCLOSED = re.compile(rf"<\s*(?:{_NAMES})\b[^<>]*>.*\Z", re.IGNORECASE | re.DOTALL)
_TIME = re.compile(
    r"[*_`]{0,3}[\[［]\s*\d{4}-\d\d-\d\d[ T]+\d\d:\d\d(?::\d\d)?(?:\s*(?:UTC|Z|[+-]\d\d:?\d\d))?\s*[\]］][*_`]{0,3}"
    r"[^\S\n]*:?[^\S\n]*"
)
_NUMBERED = re.compile(r"^\[\d+\] \d{4}-\d\d-\d\d \d\d:\d\d [^:\n]{1,40}: ", re.MULTILINE)
_NOW = re.compile(r"^Now: \w+ \d{4}-\d\d-\d\d \d\d:\d\d[^\n]{0,40}\.$\n?", re.MULTILINE)
_QUOTE = re.compile(r"^\(in reply to “[^”\n]*”\)[^\S\n]*", re.MULTILINE)
_LEFT_OUT = re.compile(r"\n?\[… [\d,]+ of [\d,]+ characters left out …\]\n?")
_FACTS = re.compile(
    r"^(?:Known about the contact|Done already for what was said last, and not to be done again):[^\S\n]*\n?"
    r"(?:- [^\n]*(?:\n|\Z))*",
    re.MULTILINE,
)
_EMPTY_CODE = re.compile(r"```\w*\s*```")
_BLANK_LINES = re.compile(r"\n{3,}")


def strip_prompt_marks(text: str) -> str:
    """Return an answer without blocks like `<notes>…</notes>`, times like `[2026-11-27 03:15]` and our other marks.

    A block without its end is removed to the end of the text, one without its beginning from there. May be empty.
    """
    stripped = _BLOCK.sub("", text)
    stripped = _UNOPENED.sub("", stripped)
    stripped = _UNCLOSED.sub("", stripped)
    for pattern in (_NUMBERED, _TIME, _NOW, _FACTS, _QUOTE, _EMPTY_CODE):
        stripped = pattern.sub("", stripped)
    stripped = _LEFT_OUT.sub("\n", stripped)
    return text if stripped == text else _BLANK_LINES.sub("\n\n", stripped).strip()
