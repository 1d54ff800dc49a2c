"""Bytes from strangers become typed values, or an error of ours."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.bridges.baileys import read_content
from agent.bridges.parsing import Fields, WrongShape, read_json
from whatsapp_agent.errors import UnreadableWebhookRequest
from whatsapp_agent.text.sanitize import storable


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b'{"a": 1',
        b'{"a": 1} trailing',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": "\xff\xfe"}',
        b'{"a": "\xed\xa0\x80"}',  # a surrogate in UTF-8's clothes
        b'{"a": "\x00"}',
        b"\xff\xfe{\x00}\x00",  # UTF-16
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'["\\u0041",' + b"[" * 10_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_is_no_json_is_refused_as_unreadable(body):
    with pytest.raises(UnreadableWebhookRequest):
        read_json(body)


def test_a_nest_too_deep_to_be_cleaned_is_unreadable_rather_than_an_accident():
    outcomes = []
    for depth in (5, 500, 900, 990, 2000):
        body = b"[" * depth + b'"\\u0000"' + b"]" * depth
        try:
            value = read_json(body)
        except UnreadableWebhookRequest:
            outcomes.append("unreadable")
            continue
        while isinstance(value, list):
            (value,) = value
        outcomes.append(value)
    assert (outcomes[0], outcomes[-1]) == ("\ufffd", "unreadable")
    assert set(outcomes) == {"\ufffd", "unreadable"}


def test_nul_characters_and_lone_surrogates_are_replaced_everywhere():
    body = rb'{"text": "a\u0000b\ud800c", "k\u0000": ["\udfff", {"x": "\u0000"}], "n": 1}'

    value = read_json(body)

    assert value == {"text": "a\ufffdb\ufffdc", "k\ufffd": ["\ufffd", {"x": "\ufffd"}], "n": 1}


def test_a_surrogate_pair_is_one_character():
    assert read_json(rb'"\ud83d\udc4b ol\u00e1"') == "👋 olá"


def test_storable_text_leaves_every_script_and_emoji_alone():
    text = "مرحبا שלום 👋🏽 \u202eabc \n\t"

    assert storable(text) == text


def test_what_must_be_an_object_and_is_not_is_named_without_its_value():
    with pytest.raises(WrongShape, match="data is no object") as caught:
        Fields({"data": "5511988887777"}).object("data")

    assert "5511" not in str(caught.value)


@pytest.mark.parametrize("value", [None, "", 7, True, [], {}, "x" * 256], ids=repr)
def test_a_needed_text_is_there_and_of_bearable_length(value):
    with pytest.raises(WrongShape, match=r"data\.messageId"):
        Fields({"messageId": value}, "data").needed("messageId")


@pytest.mark.parametrize("value", [7, True, [], {"a": 1}], ids=repr)
def test_a_text_of_another_type_is_wrong(value):
    with pytest.raises(WrongShape):
        Fields({"text": value}).text("text")


def test_what_merely_accompanies_is_left_out_when_it_is_wrong():
    fields = Fields({"name": 7, "flag": "yes", "number": "8", "inner": [], "list": {"a": 1}, "mixed": [1, {"a": "b"}]})

    assert fields.short("name") is None
    assert fields.flag("flag") is False
    assert fields.number("number") is None
    assert fields.maybe_object("inner") is None
    assert fields.objects("list") == []
    assert [one.short("a") for one in fields.objects("mixed")] == ["b"]


@pytest.mark.parametrize("value", [10**4000, 1e999, float("nan"), True, "1", None], ids=lambda value: str(value)[:10])
def test_a_number_is_finite_or_none(value):
    assert Fields({"n": value}).number("n") is None


@pytest.mark.parametrize(
    ("value", "at"),
    [
        (1790000001000, datetime(2026, 9, 21, 14, 13, 21, tzinfo=UTC)),
        ("2026-09-21T14:13:21.000Z", datetime(2026, 9, 21, 14, 13, 21, tzinfo=UTC)),
        ("2026-09-21T11:13:21-03:00", datetime(2026, 9, 21, 14, 13, 21, tzinfo=UTC)),
        ("2026-09-21T14:13:21", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        (0, None),
        (-5, None),
        (10**400, None),
        (1e300, None),
        (10**15, None),
        (True, None),
        ([], None),
    ],
    ids=lambda value: str(value)[:26],
)
def test_a_time_is_aware_and_sensible_or_none(value, at):
    assert Fields({"at": value}).time("at") == at


SAME_MOMENT = datetime(2026, 9, 21, 14, 13, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        1790000001,
        1790000001.0,
        1790000001000,
        1790000001000000,
        1790000001000000000,
        "1790000001",
        "1790000001000",
        "1790000001.000",
        " 1790000001 ",
        {"low": 1790000001, "high": 0, "unsigned": True},
        {"low": -1001361432, "high": 416, "unsigned": False},
        "2026-09-21t14:13:21z",
        "2026-09-21 14:13:21+00:00",
    ],
    ids=str,
)
def test_a_time_is_read_in_whatever_unit_the_bridge_uses(value):
    assert Fields({"at": value}).time("at") == SAME_MOMENT


@pytest.mark.parametrize(
    "value", [17, 1_000_000_000, "12", "1e9", "-1790000001", {"low": 1}, {"low": "1", "high": 0}, "1999-01-01T00:00Z"]
)
def test_an_implausible_time_is_none(value):
    assert Fields({"at": value}).time("at") is None


@pytest.mark.parametrize("unit", [1, 1000])
def test_what_has_happened_is_not_in_the_future(unit):
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).timestamp()
    a_minute_ahead = (datetime.now(UTC) + timedelta(minutes=1)).timestamp()

    assert Fields({"at": tomorrow * unit}).past_time("at") is None
    assert Fields({"at": tomorrow * unit}).time("at") is not None
    assert Fields({"at": a_minute_ahead * unit}).past_time("at") is not None


def test_a_byte_order_mark_is_no_part_of_the_json():
    assert read_json(b'\xef\xbb\xbf{"a": "\xef\xbb\xbfb"}') == {"a": "\ufeffb"}


@pytest.mark.parametrize("version", ["", "V2", "V3", "V5"])
def test_a_poll_is_read_with_its_question_and_options(version):
    options = [{"optionName": "Azul"}, {"optionName": "Verde"}]
    message = {f"pollCreationMessage{version}": {"name": "Qual cor?", "options": options}}
    content = read_content(Fields(message, "the message"))
    assert (content.kind, content.details) == ("unknown", {"poll": {"name": "Qual cor?", "options": ["Azul", "Verde"]}})
