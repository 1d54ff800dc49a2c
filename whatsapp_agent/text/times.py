"""Times as people and models read them: in one time zone, to the minute.

Programs are given UTC in ISO 8601; every other text that names a time or a day is made here.
"""

from datetime import datetime, tzinfo


def format_day(at: datetime, *, zone: tzinfo) -> str:
    return f"{in_zone(at, zone):%Y-%m-%d}"


def format_minute(at: datetime, *, zone: tzinfo) -> str:
    """Return a time where the reader knows the zone: `2026-11-27 06:00`."""
    return f"{in_zone(at, zone):%Y-%m-%d %H:%M}"


def format_minute_with_zone(at: datetime, *, zone: tzinfo) -> str:
    """Return a time that names its zone: `2026-11-27 06:00 America/Sao_Paulo`."""
    local = in_zone(at, zone)
    return f"{local:%Y-%m-%d %H:%M} {local.tzinfo}"


def in_zone(at: datetime, zone: tzinfo) -> datetime:
    """Return the same instant in this zone; as it is at the end of year 9999, which other zones do not have."""
    try:
        return at.astimezone(zone)
    except OverflowError:
        return at
