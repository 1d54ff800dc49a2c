"""Times in texts, in the reader's time zone."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from whatsapp_agent.text.times import format_day, format_minute, format_minute_with_zone

AT = datetime(2026, 3, 1, 1, 30, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "day", "minute"),
    [
        (UTC, "2026-03-01", "2026-03-01 01:30"),
        (ZoneInfo("Asia/Kolkata"), "2026-03-01", "2026-03-01 07:00"),
        (ZoneInfo("America/Sao_Paulo"), "2026-02-28", "2026-02-28 22:30"),
    ],
)
def test_a_time_is_formatted_in_the_zone(zone, day, minute):
    assert (format_day(AT, zone=zone), format_minute(AT, zone=zone)) == (day, minute)
    assert format_minute_with_zone(AT, zone=zone) == f"{minute} {zone}"


@pytest.mark.parametrize("at", [datetime(9999, 12, 31, 23, 59, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_a_time_at_the_end_of_the_calendar_names_a_zone_that_can_show_it(at, zone):
    text = format_minute_with_zone(at, zone=ZoneInfo(zone))
    assert text.endswith((zone, "UTC"))
