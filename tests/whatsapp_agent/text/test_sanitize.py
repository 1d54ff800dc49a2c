import pytest

from whatsapp_agent.text.sanitize import storable, storable_json, without_bidi_controls


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("a\x00b", "a\ufffdb"),
        ("é\x00", "é\ufffd"),
        ("\ud83d", "\ufffd"),
        ("\udc4b\ud83d", "\ufffd\ufffd"),
        ("\ud83d\udc4b olá", "👋 olá"),
        ("👍🏽 \u202eשלום", "👍🏽 \u202eשלום"),
    ],
    ids=ascii,
)
def test_a_character_that_cannot_be_stored_is_replaced_and_the_rest_stays(text, expected):
    assert storable(text) == expected
    storable(text).encode()


def test_texts_anywhere_in_a_json_value_are_made_storable():
    value = {"a\x00": ["\ud800", {"n": 1, "none": None}]}
    assert storable_json(value) == {"a\ufffd": ["\ufffd", {"n": 1, "none": None}]}


def test_nul_is_removed_where_it_means_nothing():
    assert storable("\x00", nul="") == ""
    assert storable_json({"fact\x00": ["a\x00b é\ud83d"]}, nul="") == {"fact": ["ab é\ufffd"]}


def test_what_turns_a_line_around_is_left_out_and_letters_keep_their_direction():
    assert (
        without_bidi_controls("\u2067\u2066\u202eAna\u202c\u2069 \u200fשלום 👨\u200d👩\u200d👧")
        == "Ana \u200fשלום 👨\u200d👩\u200d👧"
    )
