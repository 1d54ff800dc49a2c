"""A bridge whose times differ from ours is named; nothing is silently taken for old, and the past is not answered."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agent import inbox
from agent.server import doctor
from agent.server.health import ready
from messaging.maintenance import clocks
from messaging.models import Conversation, Message
from sessions_app import bridge_clocks
from sessions_app.models import Bridge, WhatsAppSession
from tests.support.fake_zapw import FakeZapw

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def wait(monkeypatch) -> Callable[[float], None]:
    """Let seconds pass: `wait(20)`."""
    real, passed_s = time.monotonic, 0.0

    def pass_s(seconds: float) -> None:
        nonlocal passed_s
        passed_s += seconds

    monkeypatch.setattr(time, "monotonic", lambda: real() + passed_s)
    return pass_s


@pytest.fixture
def post(bridge, session) -> Callable[..., Message]:
    """Post a message as zapw does: `ahead` is by how much its times are ahead of ours, `age` how old it is."""
    count = 0

    def post_message(*, ahead: timedelta, age: timedelta = timedelta(), **changes: Any) -> Message:
        nonlocal count
        count += 1
        stated = int((timezone.now() + ahead - age).timestamp() * 1000)
        data = {
            "messageId": f"3EB0{count:016X}",
            "from": "5511988887777@s.whatsapp.net",
            "timestamp": stated,
            "type": "text",
            "text": f"Hello {count}",
        }
        body = {"sessionId": session.name, "eventType": "message.received", "timestamp": stated, "data": data | changes}
        inbox.process_webhook_request(
            bridge=Bridge.objects.get(pk=bridge.pk), headers={}, body=json.dumps(body).encode()
        )
        return Message.objects.get(provider_message_id=data["messageId"])

    return post_message


@pytest.fixture
def measure(post, wait) -> Callable[[timedelta], None]:
    """Post what is written now for over a minute, and let the periodic jobs run."""

    def measure_clock(ahead: timedelta) -> None:
        for _ in range(bridge_clocks.MIN_TIMES):
            post(ahead=ahead)
            wait(20)
        bridge_clocks.save_offsets()
        clocks.report_stale_messages()

    return measure_clock


def readiness(rf) -> dict[str, bool]:
    return json.loads(ready(rf.get("/health/ready/")).content)["checks"]


@pytest.mark.parametrize("ahead", [-2 * HOUR, -20 * MINUTE, 3 * HOUR, 400 * 24 * HOUR], ids=str)
def test_readiness_and_doctor_name_a_bridge_whose_times_differ_from_ours(ahead, measure, bridge, rf):
    measure(ahead)
    assert readiness(rf)["clock:default"] is False
    finding = next(finding for finding in doctor.findings() if finding.about == "clock of default")
    assert ("ahead of" if ahead > timedelta() else "behind") in finding.text


@pytest.mark.parametrize("ahead", [timedelta(), timedelta(seconds=-20), timedelta(seconds=20)], ids=str)
def test_readiness_is_content_with_a_bridge_whose_times_are_ours(ahead, measure, rf):
    measure(ahead)
    assert readiness(rf)["clock:default"] is True


@pytest.mark.parametrize("ahead", [-2 * HOUR, 3 * HOUR], ids=str)
def test_a_new_message_of_a_bridge_with_a_wrong_clock_is_answered(ahead, measure, post):
    measure(ahead)
    message = post(ahead=ahead)
    assert message.unanswered == ""
    assert abs(message.written_at - timezone.now()) < MINUTE


@pytest.mark.parametrize("age", [HOUR, 3 * HOUR], ids=str)
@pytest.mark.parametrize("ahead", [-2 * HOUR, 3 * HOUR], ids=str)
def test_an_old_message_of_a_bridge_with_a_wrong_clock_is_not_answered(ahead, age, measure, post):
    measure(ahead)
    assert post(ahead=ahead, age=age).unanswered == "stale"


def test_messages_taken_for_old_before_the_clock_was_known_ask_for_attention_once(measure, post, conversation):
    measure(-2 * HOUR)
    conversation.refresh_from_db()
    assert Message.objects.filter(unanswered="stale").exists()
    assert (conversation.needs_attention, conversation.attention_reason) == (True, "clock")
    Conversation.objects.update(needs_attention=False)
    clocks.report_stale_messages()
    assert not Conversation.objects.get().needs_attention


def test_messages_redelivered_after_an_outage_are_no_wrong_clock(post, wait, rf):
    for minutes_ago in range(200, 100, -10):
        post(ahead=timedelta(), age=minutes_ago * MINUTE)
        wait(10)
    bridge_clocks.save_offsets()
    assert readiness(rf)["clock:default"] is True
    assert not Message.objects.exclude(unanswered="stale").exists()


def test_messages_written_and_redelivered_together_are_no_wrong_clock(post, wait, rf):
    for _ in range(20):
        post(ahead=timedelta(), age=3 * HOUR)
        wait(1)
    bridge_clocks.save_offsets()
    assert readiness(rf)["clock:default"] is True
    assert not Message.objects.exclude(unanswered="stale").exists()


def test_one_time_in_the_future_is_replaced_by_that_of_its_arrival(post, rf):
    message = post(ahead=5 * HOUR)
    bridge_clocks.save_offsets()
    assert message.unanswered == ""
    assert abs(message.written_at - timezone.now()) < MINUTE
    assert readiness(rf)["clock:default"] is True


def test_a_time_in_the_future_is_replaced_by_that_of_the_webhook_request(post):
    far = int((timezone.now() + HOUR).timestamp() * 1000)
    assert post(ahead=timedelta(), age=HOUR, timestamp=far).unanswered == "stale"


@pytest.mark.parametrize("ahead", [-2 * HOUR, 3 * HOUR], ids=str)
def test_a_clock_that_was_corrected_is_believed_again(ahead, measure, post, rf):
    measure(ahead)
    measure(timedelta())
    assert post(ahead=timedelta()).unanswered == ""
    assert post(ahead=timedelta(), age=HOUR).unanswered == "stale"
    assert readiness(rf)["clock:default"] is True


def test_a_clock_that_was_set_forward_is_believed_at_once(measure, post):
    measure(-2 * HOUR)
    post(ahead=timedelta())
    assert post(ahead=timedelta(), age=HOUR).unanswered == "stale"


def test_another_process_uses_what_one_has_measured(bridge, post):
    Bridge.objects.filter(pk=bridge.pk).update(clock_offset_s=-7200, clock_offset_at=timezone.now())
    assert post(ahead=-2 * HOUR).unanswered == ""


def test_what_was_measured_long_ago_is_not_used(bridge, post, rf):
    long_ago = timezone.now() - 2 * HOUR
    Bridge.objects.filter(pk=bridge.pk).update(clock_offset_s=-7200, clock_offset_at=long_ago)
    assert post(ahead=-2 * HOUR).unanswered == "stale"
    assert readiness(rf)["clock:default"] is True


def test_the_clocks_of_two_bridges_are_measured_apart(measure, simulator, rf):
    measure(-2 * HOUR)
    assert readiness(rf)["clock:simulator"] is True


def test_a_session_that_disconnects_is_recorded_although_the_clock_is_behind(measure, bridge, session):
    measure(-2 * HOUR)
    WhatsAppSession.objects.update(status_changed_at=timezone.now() - MINUTE)
    stated = int((timezone.now() - 2 * HOUR).timestamp() * 1000)
    body = {"sessionId": session.name, "eventType": "session.disconnected", "timestamp": stated, "data": {}}
    inbox.process_webhook_request(bridge=bridge, headers={}, body=json.dumps(body).encode())
    session.refresh_from_db()
    assert session.status != WhatsAppSession.Status.CONNECTED


@pytest.mark.parametrize("ahead", [-2 * HOUR, 3 * HOUR], ids=str)
def test_readiness_names_a_bridge_whose_own_clock_is_wrong_before_it_posts_anything(ahead, bridge, rf):
    with FakeZapw(api_key="key") as fake:
        Bridge.objects.filter(pk=bridge.pk).update(base_url=fake.url, api_key="key")
        assert readiness(rf)["clock:default"] is True
        fake.clock_ahead = ahead
        assert readiness(rf)["clock:default"] is False
