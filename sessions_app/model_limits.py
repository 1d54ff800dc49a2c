"""Store what model servers were found not to take, so that a restart forgets nothing and all processes know it.

`agent.llm.capabilities` decides what that is, and calls these functions.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from agent.llm import capabilities
from sessions_app.models import ModelLimit
from whatsapp_agent import postgres
from whatsapp_agent.periodic import periodic

log = structlog.get_logger(__name__)

LIMIT_TTL = timedelta(days=7)  # then it is tried again: servers are updated


def load_limits(address: str, model: str) -> dict[str, Any] | None:
    """Return what was found out about a model; None if the database does not answer."""
    rows = ModelLimit.objects.filter(**_key(address, model), found_at__gt=timezone.now() - LIMIT_TTL)
    try:
        limits = dict(rows.values_list("name", "value"))
    except (DatabaseError, InterfaceError):
        log.warning("model_limits_not_loaded", exc_info=True)
        return None
    postgres.release()  # a model is about to be asked
    return limits


def store_limits(address: str, model: str, limits: Mapping[str, Any]) -> None:
    """Store what was found out. A failure loses no answer: it is found out again."""
    now = timezone.now()
    rows = [ModelLimit(**_key(address, model), name=name, value=limits[name], found_at=now) for name in sorted(limits)]
    try:
        ModelLimit.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["address", "model", "name"],
            update_fields=["value", "found_at"],
        )
    except (DatabaseError, InterfaceError):
        log.warning("model_limits_not_stored", exc_info=True)


def forget_limits() -> None:
    """Forget everything, so that it is tried again: in this process now, in others within `CACHE_TTL_S`."""
    ModelLimit.objects.all().delete()
    capabilities.clear_cache()


@periodic(every_s=24 * 3600.0)
def delete_expired_limits() -> None:
    ModelLimit.objects.filter(found_at__lte=timezone.now() - LIMIT_TTL).delete()


def _key(address: str, model: str) -> dict[str, str]:
    return {"address": address[:500], "model": model[:200]}


capabilities.load_limits.provide(load_limits)
capabilities.store_limits.provide(store_limits)
