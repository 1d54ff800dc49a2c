"""Indexing and embedding beside the deletion of the same messages: no deadlock, and nothing is left of them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from messaging.maintenance.retention import delete_messages, in_batches
from messaging.models import Conversation, Embedding, Message, SearchEntry, UnembeddedMessage, UnindexedMessage
from messaging.search import embeddings
from messaging.search.index import index_conversation, index_waiting, reindex
from tests.support.background import BackgroundCall
from tests.support.fake_openai import FakeOpenAI

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def messages(conversation: Conversation) -> list[Message]:
    """An old and a newer message, both waiting to be indexed."""
    return [
        Message.objects.create(
            session=conversation.session, conversation=conversation, sender=conversation.contact, direction="inbound",
            author="contact", status="handled", text=text, said_at=datetime(2024, 5, day, tzinfo=UTC),
        )
        for day, text in enumerate(("kayak", "canoe"), 1)
    ]  # fmt: skip


def delete_beside(act: Callable[[], Any], message: Message) -> Any:
    """Delete the message as retention and forgetting do, while `act` runs on another connection; return its result."""
    acting = []

    def delete(ids: list[Any]) -> None:
        acting.append(BackgroundCall(act))  # the messages are locked
        acting[0].wait_for_lock()
        delete_messages(ids)

    assert list(in_batches(lambda: Message.objects.filter(pk=message.pk), delete)) == [1]
    return acting[0].result()


INDEXING: dict[str, Callable[[Conversation], Any]] = {
    "the engine": lambda _: index_waiting(),
    "a search": lambda conversation: index_conversation(conversation.pk),
    "reindex_search": lambda _: list(reindex()),
}


@pytest.mark.parametrize("index", INDEXING.values(), ids=INDEXING)
def test_indexing_and_deleting_a_message_do_not_deadlock(conversation, messages, index):
    old, new = messages
    delete_beside(lambda: index(conversation), old)
    assert list(SearchEntry.objects.values_list("message", flat=True)) == [new.pk]
    assert not UnindexedMessage.objects.exists()


def test_a_message_whose_deletion_is_given_up_is_indexed_afterwards(messages):
    old, new = messages

    def delete(ids: list[Any]) -> None:
        assert BackgroundCall(index_waiting).result() == 1
        raise InterruptedError

    with pytest.raises(InterruptedError):
        list(in_batches(lambda: Message.objects.filter(pk=old.pk), delete))
    assert index_waiting() == 1
    assert set(SearchEntry.objects.values_list("message", flat=True)) == {old.pk, new.pk}


def test_embedding_and_deleting_a_message_do_not_deadlock(messages, settings, monkeypatch):
    old, new = messages
    monkeypatch.setattr(embeddings.State, "prepared", None)
    monkeypatch.setattr(embeddings.State, "pause_until", 0.0)
    with FakeOpenAI() as fake:
        settings.OPENAI_BASE_URL, settings.OPENAI_EMBEDDING_MODEL = fake.base_url, "small"
        index_waiting()
        delete_beside(embeddings.embed_waiting, old)
    assert list(Embedding.objects.values_list("message", flat=True)) == [new.pk]
    assert not UnembeddedMessage.objects.exists()
