"""The limits that WhatsApp sets on an account, as WAHA reports them since 2026.8.1."""

from collections.abc import Iterator
from typing import Any

from agent.bridges.parsing import Fields, WrongShape


def read_limits(data: Fields | None) -> tuple[dict[str, Any], ...] | None:
    """Return the limits that WhatsApp sets on an account: {kind, active, until}.

    None if `data` does not say, or not in a form that we know.
    """
    try:
        return tuple(_limits(data)) or None if data else None
    except WrongShape:
        return None


def _limits(data: Fields) -> Iterator[dict[str, Any]]:
    if lock := data.maybe_object("reachoutTimelock"):
        yield read_timelock(lock)
    if capping := data.maybe_object("messageCapping"):
        yield read_capping(capping)


def read_timelock(raw: Fields) -> dict[str, Any]:
    return {"kind": "timelock", "active": raw.flag("isActive"), "until": raw.time("timeEnforcementEnds")}


def read_capping(raw: Fields) -> dict[str, Any]:
    status = raw.short("cappingStatus", longest=50)
    return {
        "kind": "capping",
        "active": status == "CAPPED",
        "until": raw.time("cycleEnd"),
        "status": status,
        "used": raw.integer("usedQuota"),
        "total": raw.integer("totalQuota"),
    }
