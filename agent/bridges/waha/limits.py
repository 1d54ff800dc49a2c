"""The limits that WhatsApp sets on an account, as WAHA reports them since 2026.8.1."""

from typing import Any

from agent.bridges.parsing import Fields


def read_restriction(data: Fields | None) -> dict[str, Any] | None:
    """Return a limit that WhatsApp sets on the account: {kind, active, until}; None if `data` holds none."""
    if data is None:
        return None
    if lock := data.maybe_object("reachoutTimelock"):
        return read_timelock(lock)
    return read_capping(capping) if (capping := data.maybe_object("messageCapping")) else None


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
