"""The inbox in Brazilian Portuguese. `tests/whatsapp_agent/test_translations.py` checks the catalogues."""

from django.urls import reverse

from accounts.models import User
from messaging.models import Conversation
from tests.support.messaging.admin import LogIn


def test_a_page_speaks_portuguese(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    User.objects.filter(pk=staff_member.pk).update(language="pt-br")
    page = log_in(staff_member).get(reverse("inbox-conversation", args=[conversation.pk])).content.decode()
    assert all(text in page for text in ("Caixa de entrada", "Precisa de alguém", "Assumir", 'lang="pt-br"'))
