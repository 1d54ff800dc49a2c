"""What was read in files is found like what was written."""

from django.db import connection

from agent.bridges.events import Kind
from messaging.media import fetching
from messaging.models import Media, UnindexedMessage
from messaging.search.index import index_waiting
from messaging.search.ranking import search
from tests.support.messaging.documents import docx


def test_a_word_of_a_document_is_found(receive, conversation):
    media = receive(docx("The warranty covers the derailleur."), "terms.docx")
    assert [hit.message.pk for hit in search(conversation=conversation, query="derailleur")] == [media.message_id]


def test_a_word_of_a_document_read_after_its_message_was_indexed_is_found(receive, conversation):
    media = receive(docx("The warranty covers the derailleur."), "terms.docx", is_fetched=False)
    index_waiting()
    assert not UnindexedMessage.objects.exists()
    fetching.process(media.pk)
    assert [hit.message.pk for hit in search(conversation=conversation, query="derailleur")] == [media.message_id]


def test_a_word_of_a_voice_note_is_found(receive, conversation):
    media = receive(b"OggS" + bytes(60), kind=Kind.VOICE, is_fetched=False)
    index_waiting()
    Media.objects.filter(pk=media.pk).update(transcript="Could you send me the invoice?")
    assert [hit.message.pk for hit in search(conversation=conversation, query="invoice")] == [media.message_id]


def test_progress_of_a_download_indexes_nothing(receive, conversation):
    media = receive(b"OggS" + bytes(60), kind=Kind.VOICE, is_fetched=False)
    index_waiting()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE messaging_media SET tries = 2 WHERE id = %s", [media.pk])
    assert not UnindexedMessage.objects.exists()
