"""Readiness: a bridge that answers and refuses our key is not ready to be sent through."""

import json

import pytest

from agent.server.health import ready
from sessions_app.models import Bridge
from sessions_app.services import KEY_REFUSED
from tests.support.fake_zapw import FakeZapw

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("reason", "is_ready"), [("", True), (KEY_REFUSED, False)])
def test_a_bridge_is_not_ready_while_it_refuses_our_key(session, rf, reason, is_ready):
    with FakeZapw() as zapw:
        Bridge.objects.filter(pk=session.bridge_id).update(kind="zapw", base_url=zapw.url, api_key=zapw.api_key)
        session.status_reason = reason
        session.save()
        checks = json.loads(ready(rf.get("/health/ready/")).content)["checks"]
    assert checks[f"bridge:{session.bridge.slug}"] is is_ready
