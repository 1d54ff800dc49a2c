"""What the platform of a number charges for the messages of this month: each once, by the `pricing` of its receipts."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.core.cache import cache
from django.db.models import Count, DateTimeField, Max, Q
from django.db.models.functions import Coalesce

from messaging.models import Message
from messaging.receipts import PAYMENT_CODE
from sessions_app import bridges
from sessions_app.bridges import MonthPrices, month_start

Status = Message.Status
DELIVERED_AT = Coalesce("delivered_at", "read_at", output_field=DateTimeField())  # a phone may report `read` alone
MAX_DELIVERY_DELAY = timedelta(days=3)  # what a phone gets later than that, across a change of month, is not counted


MANY_MESSAGES = 10_000  # of a month; 300,000 take a third of a second to count
RECOUNT_S = 60  # the count of so many may be so old


def count_prices(session_ids: Sequence[UUID]) -> dict[UUID, MonthPrices]:
    """Return the counts of these sessions, in one statement; a session without a priced message is left out.

    The count of a session with many messages is cached for RECOUNT_S.
    """
    month = month_start()
    keys = {f"prices:{session_id}:{month:%Y-%m}": session_id for session_id in session_ids}
    cached = {keys[key]: counted for key, counted in cache.get_many(keys).items()}
    missing = [session_id for session_id in session_ids if session_id not in cached]
    counted = _count(missing, since=month) if missing else {}
    for key, session_id in keys.items():
        if session_id in counted and max(counted[session_id].replies, counted[session_id].billable) >= MANY_MESSAGES:
            cache.set(key, counted[session_id], timeout=RECOUNT_S)
    return cached | counted


def _count(session_ids: Sequence[UUID], *, since: datetime) -> dict[UUID, MonthPrices]:
    is_delivered = Q(status__in=[Status.DELIVERED, Status.READ], charged_at__gte=since)
    is_unpaid = Q(status=Status.FAILED, error_code=PAYMENT_CODE)
    rows = (
        Message.objects.filter(
            session__in=session_ids, said_at__gte=since - MAX_DELIVERY_DELAY, direction=Message.Direction.OUTBOUND
        )
        .annotate(charged_at=DELIVERED_AT)
        .filter(is_delivered & Q(pricing__isnull=False) | is_unpaid)
        .order_by()
        .values("session")
        .annotate(
            service=Count("pk", filter=is_delivered & Q(pricing__category="service")),
            billable=Count("pk", filter=is_delivered & Q(pricing__billable=True)),
            last_charged_at=Max("said_at", filter=is_delivered & Q(pricing__billable=True)),
            last_unpaid_at=Max("said_at", filter=is_unpaid),
        )
    )
    return {
        row["session"]: MonthPrices(
            replies=row["service"],
            billable=row["billable"],
            is_payment_missing=row["last_unpaid_at"] is not None
            and (row["last_charged_at"] is None or row["last_charged_at"] < row["last_unpaid_at"]),
        )
        for row in rows
    }


bridges.count_prices.provide(count_prices)
