"""What migrations do to the rows of an old database."""

from importlib import import_module

import pytest
from django.db import connection
from django.utils import timezone

from messaging.models import Turn
from tests.conftest import as_user

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("reason", "expected"), [("", "silenced: a person took over"), ("Bia took over", "Bia took over")]
)
def test_a_turn_that_an_old_version_stored_as_silenced_is_an_ignored_one(conversation, member, reason, expected):
    turn = Turn.objects.create(conversation=conversation, outcome="silenced", reason=reason, started_at=timezone.now())
    with connection.cursor() as cursor:
        cursor.execute(import_module("messaging.migrations.0017_no_silenced_turns").SILENCED_TO_IGNORED)
    shown = as_user(member).get(f"/api/v1/turns/{turn.pk}/").json()
    assert (shown["outcome"], shown["reason"]) == ("ignored", expected)


def test_turns_are_not_filtered_by_an_outcome_that_none_can_have(member, conversation):
    assert as_user(member).get("/api/v1/turns/?outcome=silenced").status_code == 400
