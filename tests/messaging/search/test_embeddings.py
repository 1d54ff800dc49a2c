"""Search by meaning: what is embedded, when, by which model, and what becomes of search when the model fails."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from messaging.models import Contact, Conversation, Embedding, EmbeddingModel, Message, UnembeddedMessage
from messaging.search import embeddings
from messaging.search.index import index_waiting
from messaging.search.ranking import search
from tests.support.fake_openai import FakeOpenAI

BEGINNING = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def server(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOpenAI]:
    """An embedding server, and settings that name it. Its vectors are near where texts share words."""
    monkeypatch.setattr(embeddings.State, "prepared", None)
    monkeypatch.setattr(embeddings.State, "pause_until", 0.0)
    with FakeOpenAI() as fake:
        settings.OPENAI_BASE_URL, settings.OPENAI_EMBEDDING_MODEL = fake.base_url, "small"
        yield fake


def store_messages(conversation: Conversation, *texts: str) -> list[Message]:
    """What was said, an hour apart; indexed, and waiting to be embedded."""
    rows = [
        Message.objects.create(
            session=conversation.session,
            conversation=conversation,
            sender=conversation.contact,
            direction="inbound",
            author="contact",
            status="handled",
            text=text,
            said_at=BEGINNING + timedelta(hours=number),
        )
        for number, text in enumerate(texts)
    ]
    index_waiting()
    return rows


def texts_asked(server: FakeOpenAI) -> list[str]:
    return [text for request in server.requests for text in request.body["input"]]


def vector_indexes() -> list[tuple[str, str]]:
    """Names and definitions."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE indexname LIKE 'messaging_embedding_nearest_%%'"
        )
        return cursor.fetchall()


def test_nothing_is_noted_while_embeddings_are_off(conversation):
    store_messages(conversation, "kayak")
    assert embeddings.embed_waiting() == 0
    assert not UnembeddedMessage.objects.exists()


def test_messages_are_embedded_in_one_batch_with_the_one_before_and_the_writers_name(conversation, server):
    store_messages(conversation, "Where is it?", "In the garage")
    assert embeddings.embed_waiting() == 2
    assert sorted(texts_asked(server)) == ["Ana: Where is it?", "Ana: Where is it?\nAna: In the garage"]
    assert len(server.requests) == 1
    assert Embedding.objects.count() == 2
    assert EmbeddingModel.objects.get().dimension == 256
    assert embeddings.embed_waiting() == 0


def test_messages_from_before_the_model_was_chosen_are_embedded_too(conversation, server, settings):
    settings.OPENAI_EMBEDDING_MODEL = ""
    store_messages(conversation, "kayak")
    settings.OPENAI_EMBEDDING_MODEL = "small"
    assert embeddings.embed_waiting() == 1


def test_another_model_embeds_everything_again(conversation, server, settings):
    store_messages(conversation, "kayak", "canoe")
    embeddings.embed_waiting()
    settings.OPENAI_EMBEDDING_MODEL = "large"
    connection.check_constraints()  # as a commit does: an index is made next
    assert embeddings.embed_waiting() == 2
    assert {row.model.name for row in Embedding.objects.select_related("model")} == {"large"}


def test_a_model_that_is_chosen_again_has_its_index_again(conversation, server, settings):
    store_messages(conversation, "kayak")
    for name in ("small", "large", "small"):
        settings.OPENAI_EMBEDDING_MODEL = name
        connection.check_constraints()  # as a commit does: an index is made next
        assert embeddings.embed_waiting() == 1
    small = EmbeddingModel.objects.get(name="small")
    assert [name for name, _ in vector_indexes()] == [f"messaging_embedding_nearest_{small.pk}"]


def test_a_changed_text_is_embedded_again(conversation, server):
    [message] = store_messages(conversation, "kayak")
    embeddings.embed_waiting()
    Message.objects.filter(pk=message.pk).update(text="canoe")
    index_waiting()
    assert embeddings.embed_waiting() == 1
    assert texts_asked(server)[-1] == "Ana: canoe"


def test_the_nearest_in_meaning_is_found_and_marked(conversation, server):
    store_messages(conversation, "alpha beta", *["filler"] * 4, "gamma delta", *["filler"] * 4)
    embeddings.embed_waiting()
    hit = search(conversation=conversation, query="gammas of delta", limit=1)[0]
    assert hit.message.text == "gamma delta"
    assert hit.why == ["says gammas", "says delta", "similar meaning"]


def test_meaning_finds_what_shares_no_word_with_the_query(conversation, server, settings):
    settings.SEARCH_LANGUAGES = ["english"]
    store_messages(conversation, "one two", *["filler"] * 4, "the a of", *["filler"] * 4)
    embeddings.embed_waiting()
    hits = search(conversation=conversation, query="the xylophone of a")  # its only telling word is nowhere
    found = next(hit for hit in hits[:2] if hit.message.text == "the a of")
    assert found.why == ["similar meaning"]


def test_meaning_stays_within_the_conversation(conversation, server):
    contact = Contact.objects.create(session=conversation.session, name="Bia")
    other = Conversation.objects.create(session=conversation.session, contact=contact, address="x")
    store_messages(other, "the secret kayak")
    store_messages(conversation, "filler")
    embeddings.embed_waiting()
    assert [hit.message.text for hit in search(conversation=conversation, query="secret kayak")] == ["filler"]


@pytest.mark.parametrize("bound", [embeddings.MAX_EXACT, 0])
def test_a_long_conversation_is_searched_through_the_index_with_the_same_result(
    conversation, server, monkeypatch, bound
):
    contact = Contact.objects.create(session=conversation.session, name="Bia")
    other = Conversation.objects.create(session=conversation.session, contact=contact, address="x")
    store_messages(other, *["kayak"] * 50)
    messages = store_messages(conversation, *(f"word{number}" for number in range(30)), "kayak")
    embeddings.embed_waiting()
    monkeypatch.setattr(embeddings, "MAX_EXACT", bound)
    found = embeddings.nearest(conversation_id=conversation.pk, query="kayak", limit=5)
    assert next(iter(found)) == messages[-1].pk
    assert len(found) == 5


def test_the_vectors_have_an_index(conversation, server):
    store_messages(conversation, "kayak")
    embeddings.embed_waiting()
    [(_, definition)] = vector_indexes()
    assert "hnsw" in definition
    assert "halfvec(256)" in definition


@pytest.mark.parametrize("outcome", ["error_500", "rate_limited", "unauthorized"])
def test_a_failing_model_leaves_search_by_words_and_is_left_alone_for_a_while(conversation, server, outcome):
    store_messages(conversation, "kayak")
    embeddings.embed_waiting()
    server.fail(outcome)
    for _ in range(3):
        assert [hit.message.text for hit in search(conversation=conversation, query="kayak")] == ["kayak"]
    assert len(server.requests) == 2


def test_a_failed_batch_is_tried_again(conversation, server, monkeypatch):
    store_messages(conversation, "kayak")
    server.fail("error_500", times=1)
    assert embeddings.embed_waiting() == 0
    monkeypatch.setattr(embeddings.State, "pause_until", 0.0)
    assert embeddings.embed_waiting() == 0  # claimed, as by a process that died
    UnembeddedMessage.objects.update(not_before=BEGINNING)
    assert embeddings.embed_waiting() == 1


def test_a_text_the_model_refuses_does_not_hold_up_the_others(conversation, server):
    store_messages(conversation, "kayak", "canoe", "raft")
    server.fail("bad_request", times=1)  # the batch
    server.fail("bad_request", times=1)  # the first alone: the newest
    assert embeddings.embed_waiting() == 3
    assert Embedding.objects.count() == 2
    assert not UnembeddedMessage.objects.exists()


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"data": []},
        {"data": [{"embedding": []}]},
        {"data": [{"embedding": [0.0, 0.0]}]},
        {"data": [{"embedding": ["a"]}]},
        {"data": [{"embedding": [1e999]}]},
        {"data": [{"embedding": [True]}]},
        {"data": [{"embedding": [1.0], "index": 7}]},
        {"data": [{"embedding": [1.0] * 16_001}]},
        {"data": [{"embedding": [1.0]}, {"embedding": [1.0]}]},
    ],
)
def test_an_answer_that_is_no_vector_is_not_stored(conversation, server, answer):
    store_messages(conversation, "kayak")
    server.answer(answer)
    assert embeddings.embed_waiting() == 0
    assert not Embedding.objects.exists()


def test_search_works_without_pgvector_and_explains_why_it_uses_words_alone(conversation, server, monkeypatch, caplog):
    monkeypatch.setattr(embeddings, "SELECT_AVAILABLE_EXTENSION", "SELECT 1 WHERE %s = ''")
    store_messages(conversation, "kayak")
    with pytest.raises(embeddings.NoPgvector, match="OPENAI_EMBEDDING_MODEL"):
        embeddings.prepare()
    assert embeddings.embed_waiting() == 0
    assert [hit.message.text for hit in search(conversation=conversation, query="kayak")] == ["kayak"]
    assert not server.requests
