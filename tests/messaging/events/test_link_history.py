"""How the link of a number has stood: spans, the share of the time connected, and who may see it."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from messaging.events.link_history import WINDOW, link_history
from messaging.models import Event
from sessions_app.models import WhatsAppSession
from tests.support.messaging.admin import LogIn

HOUR = timedelta(hours=1)
Happened = Callable[..., datetime]


@pytest.fixture
def happened(session: WhatsAppSession) -> Happened:
    """The session's status changed so many hours ago; the time is returned."""
    Event.objects.filter(session_id=session.pk).delete()
    now = timezone.now()

    def change(status: str, *, hours_ago: float, reason: str = "") -> datetime:
        at = now - hours_ago * HOUR
        data = {"status": status, "reason": reason, "previous": None}
        Event.objects.create(type="session.status_changed", session_id=session.pk, data=data, at=at)
        return at

    return change


def test_each_status_is_a_span_with_its_reason(session: WhatsAppSession, happened: Happened) -> None:
    first = happened("connected", hours_ago=10)
    second = happened("disconnected", hours_ago=4, reason="428")
    third = happened("connected", hours_ago=3)
    spans = [(span.status, span.reason, span.since, span.until) for span in link_history(session).spans]
    assert spans == [
        ("connected", "", third, None),
        ("disconnected", "428", second, third),
        ("connected", "", first, second),
    ]


def test_the_share_of_the_time_connected_is_of_the_time_that_is_known(
    session: WhatsAppSession, happened: Happened
) -> None:
    happened("connected", hours_ago=10)
    happened("disconnected", hours_ago=4)
    happened("connected", hours_ago=2)
    history = link_history(session)
    assert (round(history.connected_percent or 0), history.interruptions) == (80, 1)


def test_what_was_before_the_window_counts_no_more(session: WhatsAppSession, happened: Happened) -> None:
    days = WINDOW.days
    happened("connected", hours_ago=24 * (days + 3))
    happened("disconnected", hours_ago=24 * (days + 2))
    happened("connected", hours_ago=24 * days / 2)
    history = link_history(session)
    assert (round(history.connected_percent or 0), history.interruptions) == (50, 0)


def test_a_status_that_was_stated_twice_is_one_span(session: WhatsAppSession, happened: Happened) -> None:
    first = happened("connected", hours_ago=5)
    happened("connected", hours_ago=1)
    (span,) = link_history(session).spans
    assert (span.since, span.until) == (first, None)


def test_a_number_whose_events_are_deleted_has_its_present_status(session: WhatsAppSession, happened: Happened) -> None:
    WhatsAppSession.objects.update(status_changed_at=timezone.now() - 40 * 24 * HOUR)
    session.refresh_from_db()
    (span,) = link_history(session).spans
    assert (span.status, span.since) == (session.status, session.status_changed_at)


def test_the_page_explains_why_the_link_ended(
    session: WhatsAppSession, happened: Happened, staff_member: User, log_in: LogIn
) -> None:
    happened("connected", hours_ago=5)
    happened("logged_out", hours_ago=1, reason="401")
    page = log_in(staff_member).get(reverse("link-history", args=[session.pk])).content.decode()
    assert "logged out on the phone, or by WhatsApp (401)" in page
    assert "1 interruption." in page


def test_a_reason_of_the_bridge_is_shown_as_text(
    session: WhatsAppSession, happened: Happened, staff_member: User, log_in: LogIn
) -> None:
    happened("disconnected", hours_ago=1, reason="<b>bold</b>")
    page = log_in(staff_member).get(reverse("link-history", args=[session.pk])).content.decode()
    assert ("<b>bold" in page, "&lt;b&gt;bold" in page) == (False, True)


def test_a_stranger_does_not_see_the_history(
    session: WhatsAppSession, happened: Happened, staff_stranger: User, log_in: LogIn
) -> None:
    assert log_in(staff_stranger).get(reverse("link-history", args=[session.pk])).status_code == 404


def test_a_long_history_takes_one_query(session: WhatsAppSession, happened: Happened) -> None:
    for number in range(60):
        happened("connected" if number % 2 else "disconnected", hours_ago=60 - number)
    with CaptureQueriesContext(connection) as queries:
        history = link_history(session)
    assert (len(queries), len(history.spans)) == (1, 60)
