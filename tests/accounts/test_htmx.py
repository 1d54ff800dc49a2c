"""htmx in the admin: what stands in a page is never evaluated."""

import re
from typing import Any

import pytest
from django.urls import reverse

from accounts.models import User
from messaging.models import Conversation
from tests.support.application import ROOT

EVALUATED = re.compile(r"""hx-trigger="[^"]*\[|hx-on[:=]|hx-vars|hx-(vals|headers|request)=["'](js|javascript):""")


@pytest.mark.parametrize(
    "page",
    ["preferences", "dashboard", "inbox", "admin:accounts_user_changelist", "admin:sessions_app_bridge_add",
     "admin:password_change", "admin:messaging_conversation_change"],
)  # fmt: skip
def test_a_page_of_the_admin_does_not_let_htmx_evaluate_anything(
    admin: User, conversation: Conversation, log_in: Any, page: str
) -> None:
    arguments = [conversation.pk] if page.endswith("conversation_change") else []
    shown = log_in(admin).get(reverse(page, args=arguments)).content.decode()
    assert len(re.findall('<meta name="htmx-config" content=.{1,3}allowEval":false', shown)) == 1


def test_no_template_needs_what_is_not_evaluated() -> None:
    templates = [path for path in ROOT.glob("*/templates/**/*.html") if "hx-" in path.read_text()]
    assert len(templates) > 5
    assert [path.name for path in templates if EVALUATED.search(path.read_text())] == []
