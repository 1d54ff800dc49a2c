"""The inbox in Brazilian Portuguese. `tests/whatsapp_agent/test_translations.py` checks the catalogues."""

from django.urls import reverse

from accounts.models import User
from messaging.models import Conversation, Note
from tests.support.messaging.admin import LogIn


def test_a_page_speaks_portuguese(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    User.objects.filter(pk=staff_member.pk).update(language="pt-br")
    page = log_in(staff_member).get(reverse("inbox-conversation", args=[conversation.pk])).content.decode()
    assert all(text in page for text in ("Caixa de entrada", "Precisa de alguém", "Assumir", 'lang="pt-br"'))


def test_a_note_of_the_program_is_translated_and_one_of_a_colleague_is_not(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    User.objects.filter(pk=staff_member.pk).update(language="pt-br")
    Note.objects.create(conversation=conversation, text="Not answered for 60 minutes: assigned to nobody again.")
    Note.objects.create(
        conversation=conversation, author=staff_member, text="Not answered for 5 minutes: assigned to nobody again."
    )
    page = log_in(staff_member).get(reverse("inbox-conversation", args=[conversation.pk])).content.decode()
    assert "Sem resposta por 60 minutos: de novo sem responsável." in page
    assert "Not answered for 5 minutes: assigned to nobody again." in page
