"""Search in a conversation: what is found, why, in which order, and whose words are never shown."""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from messaging.models import Contact, Conversation, Media, Message, SearchEntry, UnindexedMessage
from messaging.search.index import conversation_lexeme, index_waiting, reindex
from messaging.search.ranking import MAX_RESULTS, Hit, filter_by_words, search
from whatsapp_agent import terminal

BEGINNING = datetime(2024, 5, 1, 12, tzinfo=UTC)

Talk = Callable[..., list[Message]]


@pytest.fixture
def talk(conversation: Conversation) -> Talk:
    """Lay down what was said, a minute apart: talk("Hello", "Hi"); returns the messages."""

    def store_messages(*texts: str, within: Conversation = conversation, **values: Any) -> list[Message]:
        start = values.pop("start", BEGINNING)
        defaults = {"direction": "inbound", "author": "contact", "status": "handled", "sender": within.contact}
        return [
            Message.objects.create(
                session=within.session,
                conversation=within,
                text=text,
                said_at=start + timedelta(minutes=number),
                **defaults | values,
            )
            for number, text in enumerate(texts)
        ]

    return store_messages


@pytest.fixture
def other(conversation: Conversation) -> Conversation:
    """Another conversation of the same session."""
    contact = Contact.objects.create(session=conversation.session, phone="+5511900000002", name="Bia")
    return Conversation.objects.create(session=conversation.session, contact=contact, address="x")


def texts(hits: list[Hit]) -> list[str]:
    return [hit.message.text for hit in hits]


FILLER = [
    "Good morning",
    "It rains today",
    "The bus was late",
    "See you",
    "I had soup",
    "Call my sister",
    "Fine, thanks",
]


def test_any_of_the_words_is_enough_and_more_of_them_come_first(conversation, talk):
    talk(*FILLER, "The fridge arrived", *FILLER, "The new fridge is broken", *FILLER)
    hits = search(conversation=conversation, query="broken fridge invoice")
    found = [text for text in texts(hits) if "fridge" in text]
    assert found == ["The new fridge is broken", "The fridge arrived"]


def test_a_rare_word_counts_more_than_a_common_one(conversation, talk):
    talk(*["We had soup again"] * 20, *FILLER, "Marta has a kayak", *FILLER)
    assert texts(search(conversation=conversation, query="soup kayak"))[0] == "Marta has a kayak"


def test_the_answer_beside_the_question_is_found_without_its_words(conversation, talk):
    talk(*FILLER, "When does the museum open?", "At nine, I think", *FILLER)
    hits = search(conversation=conversation, query="museum", limit=3)
    answer = next(hit for hit in hits if hit.message.text == "At nine, I think")
    assert answer.why == ["beside museum"]


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("She was running late", "runs"),
        ("As reuniões foram canceladas", "reunião cancelada"),
        ("Preciso das informações", "informacao"),
        ("Ele já está dançando", "dancar"),
        ("Las canciones son bonitas", "cancion"),
        ("Estábamos caminando", "caminar"),
        ("O PÃO acabou", "pao"),
        ("Straße gesperrt", "STRASSE"),
        ("Ёлка стоит", "елка"),
        ("明日は東京へ行きます", "東京"),
        ("오늘 학교에서 만나요", "학교"),
        ("พรุ่งนี้ไปกรุงเทพ", "กรุงเทพ"),
        ("هل وصلت الفاتورة", "الفاتورة"),
        ("नमस्ते हिन्दी", "हिन्दी"),
        ("I love it ❤️", "❤️"),
        ("Pay invoice #4711 please", "4711"),
        ("ｆｕｌｌ ｗｉｄｔｈ", "full"),
    ],
)
def test_endings_accents_and_scripts_do_not_hide_a_word(conversation, talk, said, asked):
    talk(*FILLER, said, *FILLER)
    assert texts(search(conversation=conversation, query=asked, limit=1)) == [said]


def test_words_that_say_nothing_do_not_choose_the_result(conversation, talk):
    talk(*["What did you do when the others were there?"] * 3, *FILLER, "A camping trip", *FILLER)
    assert texts(search(conversation=conversation, query="When did you do the camping?"))[0] == "A camping trip"


def test_a_stop_word_of_another_language_is_searched_for(conversation, talk):
    talk(*FILLER, "My son is seven", *FILLER)  # "son" says nothing in Spanish
    assert texts(search(conversation=conversation, query="How old is the son?"))[0] == "My son is seven"


def test_a_query_of_nothing_but_empty_words_finds_them(conversation, talk):
    talk("Kayak", *["Soup"] * 5, "To be or not to be")
    assert texts(search(conversation=conversation, query="to be or not to be", limit=1)) == ["To be or not to be"]


def test_a_contact_named_in_the_query_ranks_first(conversation, talk):
    talk("I went hiking", *FILLER)
    talk(
        "You went hiking",
        *FILLER,
        start=BEGINNING + timedelta(days=1),
        author="agent",
        direction="outbound",
        sender=None,
    )
    hits = search(conversation=conversation, query="Did Ana go hiking?")
    assert texts(hits)[0] == "I went hiking"
    assert "by Ana" in hits[0].why


def test_a_hit_has_its_reasons_and_the_messages_around_it(conversation, talk):
    talk("Hello", "Hi", "The tent leaks", "Oh no", "Sorry", "Bye")
    hit = search(conversation=conversation, query="leaking tent", limit=1)[0]
    assert hit.why == ["says leaking", "says tent"]
    assert [near.text for near in hit.neighbours] == ["Hello", "Hi", "Oh no", "Sorry"]


def test_another_conversation_is_never_found(conversation, other, talk):
    talk("Our secret is kayak", "Neighbour of it", within=other)
    talk("Hello", "Bye")
    assert search(conversation=conversation, query="kayak secret") == []
    assert texts(search(conversation=other, query="kayak", limit=1)) == ["Our secret is kayak"]


def test_neighbours_are_of_the_same_conversation(conversation, other, talk):
    talk(*["Secret"] * 9, within=other)
    talk("kayak", start=BEGINNING + timedelta(minutes=4))
    assert search(conversation=conversation, query="kayak secret")[0].neighbours == []


def test_a_query_cannot_name_another_conversation(conversation, other, talk):
    talk("kayak", within=other)
    index = conversation_lexeme(other.pk)
    assert search(conversation=conversation, query=f"{index} | kayak') | '{index}") == []


def test_revoked_and_unsent_messages_are_not_found(conversation, talk):
    talk("kayak one", revoked_at=timezone.now())
    talk("kayak two", status="cancelled")
    talk("kayak three", status="failed")
    talk("kayak four")
    hits = search(conversation=conversation, query="kayak")
    assert texts(hits) == ["kayak four"]
    assert hits[0].neighbours == []


def test_a_changed_text_is_found_by_its_new_words_alone(conversation, talk):
    [message] = talk("kayak")
    search(conversation=conversation, query="kayak")
    Message.objects.filter(pk=message.pk).update(text="canoe")
    assert search(conversation=conversation, query="kayak") == []
    assert texts(search(conversation=conversation, query="canoe")) == ["canoe"]


def test_a_received_message_is_found_at_once(conversation, says):
    says("The kayak is blue")
    assert texts(search(conversation=conversation, query="kayak")) == ["The kayak is blue"]


def test_a_deleted_message_leaves_nothing_behind(conversation, talk):
    [message] = talk("kayak")
    index_waiting()
    message.delete()
    assert not SearchEntry.objects.exists()
    assert search(conversation=conversation, query="kayak") == []


def test_a_message_deleted_before_it_was_indexed_is_harmless(conversation, talk):
    talk("kayak")[0].delete()
    assert index_waiting() == 1
    assert not UnindexedMessage.objects.exists()


def test_the_background_indexes_what_waits_and_then_nothing_is_left(conversation, talk):
    talk(*FILLER)
    assert index_waiting(limit=5) == 5
    assert index_waiting() == len(FILLER) - 5
    assert index_waiting() == 0
    assert SearchEntry.objects.count() == len(FILLER)


def test_a_change_of_status_is_not_indexed_again(conversation, talk):
    [message] = talk("kayak")
    index_waiting()
    message.status = "read"
    message.save()
    assert index_waiting() == 0


def test_files_places_and_people_are_found_by_their_names(conversation, talk):
    [document, place, person] = talk("", "", "")
    Media.objects.create(message=document, filename="contrato_final.pdf")
    Message.objects.filter(pk=place.pk).update(details={"location": {"name": "Praça da Sé", "address": None}})
    Message.objects.filter(pk=person.pk).update(details={"contacts": [{"name": "Zélia", "phone": "+55"}, None]})
    found = [
        search(conversation=conversation, query=query, limit=1)[0].message for query in ("contrato", "praca", "zelia")
    ]
    assert found == [document, place, person]


def test_it_is_held_to_a_time(conversation, talk):
    talk("kayak one", *FILLER)
    talk("kayak two", "beside", start=BEGINNING + timedelta(days=2))
    talk("kayak three", start=BEGINNING + timedelta(days=4))
    hits = search(
        conversation=conversation,
        query="kayak",
        since=BEGINNING + timedelta(days=1),
        before=BEGINNING + timedelta(days=3),
    )
    assert texts(hits) == ["kayak two", "beside"]
    assert [near.text for near in hits[0].neighbours] == ["beside"]


def test_the_number_of_results_is_bounded(conversation, talk):
    talk(*["kayak"] * (MAX_RESULTS + 10))
    assert len(search(conversation=conversation, query="kayak", limit=3)) == 3
    assert len(search(conversation=conversation, query="kayak", limit=10**6)) == MAX_RESULTS
    assert search(conversation=conversation, query="kayak", limit=0) == []


@pytest.mark.parametrize(
    "query",
    [
        "",
        "   ",
        "?!",
        "\x00",
        "\ud800",
        "'; DROP TABLE messaging_message; --",
        "a & | ! <-> ( ) :* \\ ' \"",
        "%s %(x)s {}",
        "\u202e\u200f\u200b",
        "́̂",
        "x" * 100_000,
        "﷽" * 500,
    ],
)
def test_nothing_sensible_asked_finds_nothing_and_breaks_nothing(conversation, talk, query):
    talk(*FILLER)
    assert search(conversation=conversation, query=query) == []


def test_ten_thousand_words_are_asked_as_their_first(conversation, talk):
    talk(*FILLER, "The kayak is blue")
    query = "kayak " + " ".join(f"word{number}" for number in range(10_000))
    assert texts(search(conversation=conversation, query=query))[0] == "The kayak is blue"


def test_a_text_of_any_length_is_indexed(conversation, talk):
    talk("kayak " + " ".join(f"{'long' * 40}{number}é" for number in range(5_000)))
    assert len(search(conversation=conversation, query="kayak")) == 1


def test_messages_of_one_instant_are_each_other_s_neighbours(conversation, talk):
    talk("question about the kayak", start=BEGINNING)
    talk("answer", start=BEGINNING)
    assert texts(search(conversation=conversation, query="kayak")) == ["question about the kayak", "answer"]


def test_indexing_everything_again_changes_nothing_that_is_found(conversation, talk):
    talk(*FILLER, "The kayak is blue")
    before = texts(search(conversation=conversation, query="kayak"))
    assert list(reindex()) == [len(FILLER) + 1]
    assert texts(search(conversation=conversation, query="kayak")) == before


def test_the_command_that_indexes_everything_again_reports_how_far_it_is(conversation, talk, monkeypatch):
    monkeypatch.setattr(terminal, "PROGRESS_INTERVAL_S", 0.0)
    talk(*FILLER)
    out, errors = io.StringIO(), io.StringIO()
    call_command("reindex_search", stdout=out, stderr=errors)
    assert f"{len(FILLER)} of {len(FILLER)} messages ..." in errors.getvalue()
    assert out.getvalue().startswith(f"Indexed {len(FILLER)} messages")


def test_a_list_finds_common_words_and_rare_ones_alike_and_gathers_only_the_rare(conversation, talk):
    said = talk(*(f"kayak {number}" if number % 2 else f"canoe {number}" for number in range(400)))
    index_waiting(limit=400)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE messaging_searchentry")

    def found(words):
        with CaptureQueriesContext(connection) as asked:
            messages = set(filter_by_words(Message.objects.all(), words))
        return messages, any("LIMIT 5001" in query["sql"] for query in asked)

    assert found("kayak") == (set(said[1::2]), False)
    assert found("canoe 42") == ({said[42]}, True)
    assert found("nobody") == (set(), True)
    assert found("kayak canoe")[0] == set()
    assert found("universidades") == (set(), True), "it is rare in each of its many forms"
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL debug_parallel_query = on")
    assert found("kayak") == (set(said[1::2]), False)
    assert found("canoe 42") == ({said[42]}, True)
