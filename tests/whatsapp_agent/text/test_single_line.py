"""Texts of one line, and texts that show nothing."""

import pytest

from whatsapp_agent.text.single_line import has_visible_text


@pytest.mark.parametrize(
    "text",
    ["", " \n\t", "\u200b", "\u200d\ufeff\u2060", "\u3164", "\u2800\u00a0", "\u202e\u2066\u2069", "\ufe0f", "\u00ad"],
)
def test_a_text_of_invisible_characters_shows_nothing(text):
    assert not has_visible_text(text)


@pytest.mark.parametrize("text", ["?", "\u200bOi\u200b", "👍", "👨\u200d👩", "é", "\u0645", "\U0001fae8", "\ufffd"])
def test_a_text_with_one_visible_character_is_seen(text):
    assert has_visible_text(text)
