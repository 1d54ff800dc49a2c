"""The dates and times of exported chats, as phones write them in their languages (formats of Unicode's CLDR)."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest

from messaging.imports.parsing import Chat, count_lines, decode_lines, parse_chat
from whatsapp_agent.errors import InvalidInput


def parsed(text: str) -> Chat:
    return parse_chat(decode_lines(text.encode()))


@pytest.mark.parametrize(
    ("head", "at"),
    [
        ("27.11.2026 21.05 - ", "21:05"),  # Danish
        ("27/11/26 21.05 - ", "21:05"),  # Indonesian
        ("27.11.2026 klo 9.05 - ", "09:05"),  # Finnish
        ("[27.11.2026 klo 21.05.30] ", "21:05:30"),
        ("2026. 11. 27. 21:05 - ", "21:05"),  # Hungarian
        ("[2026. 11. 27. du. 9:05:30] ", "21:05:30"),
        ("27.11.26\u202fг., 21:05 - ", "21:05"),  # Bulgarian
        ("27. 11. 2026. u 21:05 - ", "21:05"),  # Croatian
        ("2026-11-27 21 h 05 - ", "21:05"),  # French, Canada
        ("27/11/26, 9:05 a.\u202fm. - ", "09:05"),  # Spanish
        ("27/11/26, 9:05\u202fp.\u00a0m. - ", "21:05"),
        ("\u200e[27/11/26, 9:05:30\u202fPM] \u200e", "21:05:30"),  # iOS
        ("२७/११/२६, ९:०५ अपराह्न - ", "21:05"),  # Hindi
        ("২৭/১১/২৬, ৯:০৫ PM - ", "21:05"),  # Bengali
        ("۲۰۲۶/۱۱/۲۷،\u200f ۲۱:۰۵ - ", "21:05"),  # Persian
        ("2026年11月27日 午後9:05 - ", "21:05"),  # Japanese
        ("[2026/11/27 午前9:05:30] ", "09:05:30"),
        ("2026년 11월 27일 오후 9:05 - ", "21:05"),  # Korean
        ("2026/11/27 晚上9:05 - ", "21:05"),  # Chinese
        ("2026/11/27 中午12:05 - ", "12:05"),
        ("2026/11/27 凌晨12:05 - ", "00:05"),
        ("2026/11/27 清晨6:05 - ", "06:05"),
        ("2026/11/27 早上8:05 - ", "08:05"),
        ("2026/11/27 上午10:05 - ", "10:05"),
        ("2026/11/27 中午1:05 - ", "13:05"),
        ("2026/11/27 下午12:05 - ", "12:05"),
        ("2026/11/27 傍晚6:05 - ", "18:05"),
        ("2026/11/27 晚上12:05 - ", "00:05"),
        ("2026/11/27 半夜12:05 - ", "00:05"),
        ("2026/11/27 半夜11:05 - ", "23:05"),
        ("2026/11/27 午夜12:05 - ", "00:05"),
        ("27/11/2026, 2:05 at night - ", "02:05"),
        ("27.11.26, 9:05 abends - ", "21:05"),  # German, 12 hours
        ("27.11.2026, 2:05 ночи - ", "02:05"),  # Russian
        ("27.11.2026, 11:05 ночи - ", "23:05"),
        ("27.11.2026 11:05 siang - ", "11:05"),  # Indonesian, 12 hours
        ("27.11.2026 2:05 siang - ", "14:05"),
        ("27/11/2026, 9:05 CH - ", "21:05"),  # Vietnamese
        ("21:05, 27/11/2026 - ", "21:05"),
        ("27/11/2026, 9:05 PTG - ", "21:05"),  # Malay
        ("27/11/26, 9:05 e pasdites - ", "21:05"),  # Albanian
        ("27/11/2569 21:05 น. - ", "21:05"),  # Thai, with years since Buddha
        ("27/11/69 21:05 - ", "21:05"),
    ],
)
def test_a_head_in_the_form_of_a_language_is_read(head: str, at: str) -> None:
    chat = parsed(f"{head}Ana: Hello: you\nof two lines\n")
    (entry,) = chat.messages
    assert (f"{entry.at:%Y-%m-%d}", entry.at.time().isoformat()[: len(at)]) == ("2026-11-27", at)
    assert (entry.author, entry.text) == ("Ana", "Hello: you\nof two lines")
    assert chat.unreadable == []


@pytest.mark.parametrize("head", ["9:05 xyz", "xyz9:05", "xyz 9:05", "klo 9:05 xyz"])
@pytest.mark.parametrize("further", ["", "27/11/2026, 13:05 - Ana: Hi\n", "27/11/2026, 9:06 PM - Ana: Hi\n"])
def test_a_word_beside_a_time_that_nobody_knows_is_reported(head: str, further: str) -> None:
    chat = parsed(f"27/11/2026, {head} - Ana: Hello\n{further}")
    assert chat.messages[0].at.hour == 9
    assert [(each.line, "09:05" in each.reason and "'xyz'" in each.reason) for each in chat.unreadable] == [(1, True)]


@pytest.mark.parametrize("word", ["hrs", "xyz"])
def test_a_word_that_stands_beside_an_hour_above_12_means_no_part_of_the_day(word: str) -> None:
    chat = parsed(f"27/11/2026, 9:05 {word} - Ana: Hello\n27/11/2026, 13:05 {word} - Ana: Hi\n")
    assert ([entry.at.hour for entry in chat.messages], chat.unreadable) == ([9, 13], [])


@pytest.mark.parametrize(
    "line",
    [
        "27 Nov 2026, 9:05 PM - Ana: Hi",
        "27/11/2026, 9:05 after supper - Ana: Hi",
        "26/11/2026 9:00 lunch - Rui: said",
        "26/11/2026 lunch 9:00 - Rui: said",
        "26/11/2026 9:00 lunch - Porto",
        "26/11/2099 9:00 - Rui: said",
        "26/11/99 9:00 - Rui: said",
    ],
)
def test_a_line_that_begins_like_a_message_and_is_not_understood_is_listed_and_kept(line: str) -> None:
    chat = parsed(f"27/11/2026, 09:05 - Ana: Hello\n{line}\n27/11/2026, 09:06 - Rui: Yes\n")
    assert [each.line for each in chat.unreadable] == [2]
    assert [entry.text for entry in chat.messages] == [f"Hello\n{line}", "Yes"]


@pytest.mark.parametrize(
    "line",
    [
        "27/11/2026 is the day, 10:30 the hour",
        "1. 2. 3. start",
        "2 x 3.50 - Total: 7",
        "Call 11 98888-7777 or 11 97777-6666 - Ana: ask",
        "[26/10/2026, 08:00:00] Rui: Sold",  # quoted from an iPhone's chat
        "On 26/10/2026, 08:00 - Rui wrote: Sold",
        "10:30, 28/10/2026 - Gate: B12",
        "10:30, 28/10/2026 - Porto",
    ],
)
def test_a_further_line_of_a_message_with_numbers_is_no_head(line: str) -> None:
    chat = parsed(f"27/11/2026, 09:05 - Ana: Hello\n{line}\n")
    assert ([entry.text for entry in chat.messages], chat.unreadable) == ([f"Hello\n{line}"], [])


def test_a_year_of_an_era_that_is_not_known_is_listed() -> None:
    chat = parsed("1405/9/6, 9:05 - Ana: Hello\n2026/11/27, 9:05 - Ana: Hi\n")
    assert ([each.line for each in chat.unreadable], len(chat.messages)) == ([1], 1)


def test_a_chat_whose_time_stands_first_has_no_head_with_the_date_first() -> None:
    chat = parsed("09:05, 27/11/2026 - Ana: Hello\n26/11/2026, 10:30 - Gate: B12\n09:06, 27/11/2026 - Rui: Yes\n")
    assert [entry.text for entry in chat.messages] == ["Hello\n26/11/2026, 10:30 - Gate: B12", "Yes"]


def test_a_message_of_tomorrows_date_is_of_a_phone_in_another_zone_and_of_next_week_is_none() -> None:
    now = datetime.now()  # noqa: DTZ005  a phone's time has no zone
    soon, later = (f"{now + timedelta(hours=hours):%d/%m/%Y, %H:%M}" for hours in (23, 24 * 7))
    chat = parsed(f"{soon} - Ana: Hello\n{later} - Dinner: at nine\n")
    assert [entry.text for entry in chat.messages] == [f"Hello\n{later} - Dinner: at nine"]
    assert [(each.line, "future" in each.reason) for each in chat.unreadable] == [(2, True)]


@pytest.mark.parametrize("date", ["1405/9/6", "6/9/1405", "1448/6/17", "5787/3/7"])
def test_a_chat_of_another_calendar_is_refused_for_its_calendar(date: str) -> None:
    with pytest.raises(InvalidInput, match="calendar"):
        parsed(f"{date}, 9:05 - Ana: Hello\n")


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """`re` looks for signals while it matches, so that a pattern that does not end fails one test alone."""

    def stop(*_args: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    "run", ["\u200e", " ", "\u202f", " \u200e", "1", "1 ", "a", "a ", "1a", "\u200e.a", "<a:", "(a", ":", "年"]
)
@pytest.mark.parametrize(
    "beginning", ["1/1/26", "[1/1/26, 9:05", "1/1/26, 9:05 - Ana: ", "1/1/26, 9:05 - Ana: <a: ", "1"]
)
def test_no_line_takes_long(beginning: str, run: str) -> None:
    hostile = run * (65_000 // len(run))
    lines = [f"{beginning}{hostile}", f"{beginning}{hostile}9:05{hostile}", f"{beginning}{hostile})", f"1{hostile}: "]
    with at_most(20):
        chat = parsed("\n".join(["1/1/26, 9:04 - Ana: Hello", *lines]))
    assert chat.messages


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_lines_are_counted_as_they_are_split(end: str, encoding: str) -> None:
    content = (
        f"27/11/2026, 09:05 - ਅਨਾ: Ċ ਊ{end}".encode() if encoding == "utf-8" else f"Ana: Ċ ਊ{end}".encode(encoding)
    )
    lines = [line for line, _problem in decode_lines(content)]
    assert (count_lines(content), lines[1:]) == (1, [""])


def test_a_poll_of_an_iphone_has_no_marks_of_direction() -> None:
    text = "[27/11/2026, 09:05:11] Ana: \u200ePOLL:\nWhich day?\n\u200eOPTION: Monday (\u200e2 votes)\n"
    assert parsed(text).messages[0].text == "POLL:\nWhich day?\nOPTION: Monday (2 votes)"


def test_lines_that_end_as_on_an_old_mac_are_read() -> None:
    chat = parsed("27/11/2026, 09:05 - Ana: Hello\r27/11/2026, 09:06 - Rui: Yes\r")
    assert [entry.text for entry in chat.messages] == ["Hello", "Yes"]


@pytest.mark.parametrize(
    ("text", "is_deleted", "is_edited", "kind"),
    [
        ("<Média kihagyva>", False, False, "unknown"),
        ("<メディアは含まれていません>", False, False, "unknown"),
        ("<Media tidak disertakan>", False, False, "unknown"),
        ("Ta wiadomość została usunięta", True, False, "text"),
        ("dobrze <Ta wiadomość została zmieniona>", False, True, "text"),
        ("<a tag>", False, False, "text"),
    ],
)
def test_what_whatsapp_writes_for_a_message_is_known(text: str, is_deleted: bool, is_edited: bool, kind: str) -> None:
    (entry,) = parsed(f"27.11.2026, 09:05 - Ana: {text}\n").messages
    assert (entry.is_deleted, entry.is_edited, entry.kind.value) == (is_deleted, is_edited, kind)
