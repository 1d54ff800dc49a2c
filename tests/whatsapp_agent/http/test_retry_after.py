from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from whatsapp_agent.http.retry_after import parse_retry_after


@pytest.mark.parametrize(
    ("headers", "expected_s"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": " 7.5 "}, 7.5),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "86400"}, 3600.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "60"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "60"}, 60.0),
    ],
)
def test_seconds_dates_and_milliseconds_are_read_and_nonsense_is_none(headers, expected_s):
    assert parse_retry_after(headers) == expected_s


def test_a_date_is_the_time_until_then():
    at = datetime.now(UTC) + timedelta(seconds=60)
    assert parse_retry_after({"Retry-After": format_datetime(at)}) == pytest.approx(60, abs=2)


def test_a_date_without_a_zone_is_utc():
    at = datetime.now(UTC) + timedelta(seconds=60)
    assert parse_retry_after({"Retry-After": f"{at:%a, %d %b %Y %H:%M:%S}"}) == pytest.approx(60, abs=2)
