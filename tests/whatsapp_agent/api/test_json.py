"""Bodies that clients send as JSON."""

from io import BytesIO

import pytest
from rest_framework.exceptions import ParseError

from whatsapp_agent.api.json import BoundedJSONParser


def test_a_body_with_a_byte_order_mark_is_read():
    assert BoundedJSONParser().parse(BytesIO(b'\xef\xbb\xbf{"text": "Oi"}')) == {"text": "Oi"}


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf{}", '{"text": "Oi"}'.encode("utf-16")])
def test_a_body_that_is_not_utf_8_json_is_refused(body):
    with pytest.raises(ParseError):
        BoundedJSONParser().parse(BytesIO(body))
