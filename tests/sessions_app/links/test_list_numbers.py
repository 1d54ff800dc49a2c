"""`manage.py list_numbers`: the numbers of a business account, with the names to link them by."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.support.bridges.fake_cloud import FakeCloud

pytestmark = pytest.mark.django_db


@pytest.fixture
def cloud(settings: Any) -> Iterator[FakeCloud]:
    """A Graph that the environment names."""
    with FakeCloud() as fake:
        settings.WHATSAPP_BRIDGE, settings.WHATSAPP_API_URL = "cloud", fake.url
        settings.WHATSAPP_API_KEY, settings.WHATSAPP_SIGNING_KEY = "a token", "an app secret"
        yield fake


def list_numbers(account: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("list_numbers", account, stdout=out, **options)
    return out.getvalue()


def answer(cloud: FakeCloud, body: Any, status: int = 200) -> None:
    cloud.fail("answer", call="any", status=status, body=json.dumps(body))


def test_each_number_is_listed_under_the_name_to_link_it_by(cloud: FakeCloud):
    number = {"id": "330011223344556", "display_phone_number": "+55 11 99999-0000", "verified_name": "Bakery"}
    answer(cloud, {"data": [number]})

    listed = list_numbers("220011223344556")

    assert listed.startswith("330011223344556  +5511999990000")
    assert "Bakery" in listed
    assert cloud.requests[-1].path.endswith("/220011223344556/phone_numbers")


def test_an_account_without_numbers_is_reported(cloud: FakeCloud):
    answer(cloud, {"data": []})
    assert "no numbers" in list_numbers("220011223344556")


def test_an_account_that_is_no_id_is_refused_before_meta_is_asked(cloud: FakeCloud):
    with pytest.raises(CommandError, match="consists of digits"):
        list_numbers("../me")
    assert not cloud.requests


def test_a_bridge_without_business_accounts_is_reported(cloud: FakeCloud):
    with pytest.raises(CommandError, match="cannot list the numbers"):
        list_numbers("220011223344556", bridge="simulator")


def test_a_refusal_of_meta_is_shown(cloud: FakeCloud):
    answer(cloud, {"error": {"code": 190, "message": "Token"}}, 401)
    with pytest.raises(CommandError):
        list_numbers("220011223344556")
