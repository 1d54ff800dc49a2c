"""Whatever is split: nothing is lost, no part is too long, marks are balanced, links are whole."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whatsapp_agent.text.markdown import to_whatsapp
from whatsapp_agent.text.split import split_text

LINKS = ["https://shop.example/a/b?x=1&y=2", "https://example.com/caf%C3%A9_(1)"]
EMPHASIS = ["*two bold words*", "_three words in italics_", "~one struck~", "`some code`"]
PIECES = st.one_of(
    st.sampled_from(
        ["Oi", "tudo", "bem?", "Sim.", "R$ 39,90", "ação", "👍🏽", "👨\u200d👩\u200d👧", "🇧🇷", "\n", "\n\n", "a" * 90]
    ),
    st.sampled_from(LINKS),
    st.sampled_from(EMPHASIS),
    st.just("\n```\nprint(1)\nfor x in range(3):\n    pass\n```\n"),
)
TEXTS = st.lists(PIECES, max_size=60).map(" ".join)
LIMITS = st.integers(120, 600)
ANYTHING = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def content(text: str) -> str:
    return re.sub(r"\s|```", "", text)


@given(text=TEXTS, limit=LIMITS)
@settings(max_examples=150, deadline=None)
def test_nothing_is_lost_and_no_part_is_too_long_or_empty(text: str, limit: int):
    parts = split_text(text, limit)

    assert all(0 < units(part) <= limit and part.strip() for part in parts)
    assert content("".join(parts)) == content(text)


@given(text=TEXTS, limit=LIMITS)
@settings(max_examples=150, deadline=None)
def test_marks_are_balanced_and_links_are_whole_in_every_part(text: str, limit: int):
    parts = split_text(text, limit)

    assert all(part.count("```") % 2 == 0 for part in parts)
    for whole in (*LINKS, *EMPHASIS):
        assert sum(part.count(whole) for part in parts) == text.count(whole), whole


@given(text=ANYTHING, limit=st.integers(2, 100))
@settings(max_examples=150, deadline=None)
def test_any_text_is_split_within_the_limit_without_losing_a_character(text: str, limit: int):
    parts = split_text(text, limit)

    assert all(0 < units(part) <= limit for part in parts)
    assert content("".join(parts)) == content(text)


@given(text=TEXTS)
@settings(max_examples=100, deadline=None)
def test_converting_what_is_converted_keeps_code_and_links(text: str):
    converted = to_whatsapp(text)

    for link in LINKS:
        assert converted.count(link) == text.count(link)
    assert converted.count("```") == text.count("```")
    assert converted.count("print(1)") == text.count("print(1)")


@given(
    words=st.lists(st.sampled_from(["um", "dois", "três", "ok"]), min_size=1, max_size=6),
    mark=st.sampled_from(["**", "__"]),
)
@settings(max_examples=60, deadline=None)
def test_bold_of_markdown_is_bold_of_whatsapp(words: list[str], mark: str):
    phrase = " ".join(words)

    assert to_whatsapp(f"x {mark}{phrase}{mark} y") == f"x *{phrase}* y"


@pytest.mark.parametrize("limit", [128, 300])
def test_bold_text_is_not_cut_when_it_fits_into_the_next_part(limit: int):
    text = "palavra " * 14 + "*um texto em negrito que fica inteiro* " + "palavra " * 30

    assert any("*um texto em negrito que fica inteiro*" in part for part in split_text(text, limit))
