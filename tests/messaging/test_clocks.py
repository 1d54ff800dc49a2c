"""What a clock that was set back has put into the future comes back."""

import time
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from messaging.maintenance import clocks
from messaging.models import Conversation

pytestmark = pytest.mark.django_db


def test_turns_and_leases_far_in_the_future_are_brought_back(conversation):
    later = timezone.now() + timedelta(hours=1)
    Conversation.objects.update(due_at=later, retry_at=later, lease_token=uuid4(), lease_expires_at=later)
    clocks.advance_postponed()
    conversation.refresh_from_db()
    soon = timezone.now() + timedelta(minutes=1)
    assert conversation.due_at < soon
    assert conversation.retry_at < soon
    assert conversation.lease_expires_at < soon


def test_what_is_postponed_for_some_minutes_stays(conversation):
    later = timezone.now() + timedelta(minutes=9)
    Conversation.objects.update(due_at=later)
    clocks.advance_postponed()
    conversation.refresh_from_db()
    assert conversation.due_at == later


def test_a_clock_set_back_by_minutes_takes_what_is_postponed_along(conversation, monkeypatch):
    later = timezone.now() + timedelta(minutes=9)
    Conversation.objects.update(due_at=later)
    seen = timezone.now() + timedelta(minutes=8), time.monotonic()
    monkeypatch.setattr(clocks, "last_seen", seen)
    clocks.advance_postponed()
    conversation.refresh_from_db()
    assert abs(later - timedelta(minutes=8) - conversation.due_at) < timedelta(seconds=5)
