import pytest

from whatsapp_agent.text.truncate import truncate


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [("hello", 5, "hello"), ("hello!", 5, "hell…"), ("", 5, ""), ("hello", 1, "…"), ("hello", 0, "")],
)
def test_a_text_is_cut_to_its_limit_and_marked_as_cut(text, limit, expected):
    assert truncate(text, limit) == expected


def test_the_ending_counts_towards_the_limit():
    assert truncate("x" * 20, 10, ending=" [cut]") == "xxxx [cut]"
