"""The engine: wake-ups are answered at once, the sweep finds what none reached, a stop leaves nothing half done."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone

from agent import engine
from messaging import control
from messaging.models import Contact, Conversation, Message, Turn
from messaging.outbound import send_text
from sessions_app.models import Bridge, WhatsAppSession
from tests.support.background import becomes_true
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_zapw import FakeZapw
from whatsapp_agent import periodic, wakeups
from whatsapp_agent.periodic import PeriodicJob

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sales(session, simulator):
    """The session, at a bridge that takes everything."""
    session.bridge = simulator
    session.save()
    return session


@pytest.fixture
def running(settings, sales) -> Iterator[None]:
    settings.AGENT_SWEEP_S = 0.2
    settings.SEND_GAP_S = 0.0
    engine.start()
    yield
    engine.stop(timeout_s=2)


def sent() -> int:
    return Message.objects.filter(direction="outbound", status="sent").count()


def test_a_wake_up_is_answered(running, says, conversation):
    kept = says("Hello")
    wakeups.notify(kept.conversation_id, session_id=kept.session_id, due_at=kept.due_at)
    assert becomes_true(lambda: sent() == 1)


def test_what_no_wake_up_reached_is_found_by_the_sweep(running, says, conversation):
    says("Hello")
    assert becomes_true(lambda: sent() == 1)


def test_a_message_of_staff_leaves_at_once(running, conversation):
    send_text(conversation=conversation, text="This is Bia.")
    assert becomes_true(lambda: sent() == 1)


def test_a_turn_waits_until_it_is_due(running, says, conversation, profile):
    profile.debounce_s = profile.debounce_max_s = 0.5
    profile.save()
    kept = says("Hello")
    wakeups.notify(kept.conversation_id, session_id=kept.session_id, due_at=kept.due_at)
    assert becomes_true(lambda: sent() == 1)
    assert Turn.objects.get().started_at >= kept.due_at


def test_a_takeover_whose_time_is_up_ends_and_the_agent_answers(sales, says, conversation):
    control.take_over(conversation=conversation, until=timezone.now() + timedelta(hours=1))
    says("Anyone?")
    Conversation.objects.update(control_until=timezone.now() - timedelta(seconds=1))
    engine.run_maintenance()
    conversation.refresh_from_db()
    assert conversation.control == "agent"
    assert conversation.due_at is not None


def test_a_stop_gives_the_leases_of_unfinished_turns_back(sales, says, conversation, settings):
    with FakeOpenAI() as model:
        settings.OPENAI_BASE_URL = model.base_url
        model.fail("hang")
        engine.start()
        kept = says("Hello")
        wakeups.notify(kept.conversation_id, session_id=kept.session_id, due_at=kept.due_at)
        model.wait_for_requests(1)
        engine.stop(timeout_s=0.1)
    conversation.refresh_from_db()
    assert conversation.lease_token is None
    assert conversation.tries == 0
    assert conversation.due_at <= timezone.now()


def test_an_engine_stalls_when_its_sends_do_not_end(session, conversation, settings):
    settings.AGENT_CONCURRENCY = 1
    one = engine.Engine()
    one.start()
    try:
        with FakeZapw() as zapw:
            zapw.fail("hang")
            zapw.add_session(session.name, phone="5511999990000")
            Bridge.objects.update(kind="zapw", base_url=zapw.url, api_key=zapw.api_key)
            for number in range(2):
                contact = Contact.objects.create(session=session, phone=f"+551198888660{number}")
                talk = Conversation.objects.create(
                    session=session, contact=contact, address=f"551198888660{number}@s.whatsapp.net"
                )
                message = send_text(conversation=talk, text="Hello")
                one.notify(talk.pk, message.session_id, None)
            assert becomes_true(lambda: one.load().stalled_s > 0.1)
            assert one.load().waiting == 0  # turns
    finally:
        one.stop(timeout_s=10)  # the bridge has gone: what hung ends


def test_two_engines_on_one_database_answer_each_burst_once(sales, says, conversation, settings):
    settings.AGENT_SWEEP_S = 0.1
    engines = [engine.Engine() for _ in range(2)]
    for one in engines:
        one.start()
    for number in range(10):
        says(f"message {number}", chat=f"55119888877{number:02}@s.whatsapp.net")
    assert becomes_true(lambda: sent() == 10)
    for one in engines:
        one.stop(timeout_s=2)
    assert Turn.objects.count() == 10
    assert sent() == 10


def test_a_sweep_submits_a_single_conversation_of_a_session_among_many_of_another(sales, says, conversation, settings):
    settings.AGENT_SWEEP_S = 3600.0
    for number in range(30):
        says("Hello", chat=f"55119777700{number:02}@s.whatsapp.net")
    other = WhatsAppSession.objects.create(bridge=sales.bridge, name="other", agent_profile=sales.agent_profile)
    contact = Contact.objects.create(session=other, phone="+5511966660000")
    late = Conversation.objects.create(session=other, contact=contact, address="late", due_at=timezone.now())
    first = Conversation.objects.due_by_session(limit=2)
    assert (late.pk, other.pk) in first
    assert {session_id for _, session_id in first} == {sales.pk, other.pk}


def test_a_periodic_job_that_fails_does_not_stop_the_others(conversation, monkeypatch):
    def fail() -> None:
        raise ValueError("odd")

    failing = PeriodicJob(run=fail, every_s=lambda: 5.0, may_block=False)
    monkeypatch.setattr(periodic, "registry", [failing, *periodic.registry])
    late = send_text(conversation=conversation, text="too late")
    Message.objects.update(created_at=timezone.now() - timedelta(days=2))
    engine.run_maintenance()
    late.refresh_from_db()
    assert late.status == "failed"


def test_every_periodic_job_is_found_where_it_is_declared():
    periodic.import_jobs(engine.APPS_WITH_JOBS)
    declared = {f"{job.run.__module__}.{job.run.__name__}" for job in periodic.registry}
    assert declared >= {
        "accounts.idempotency.purge",
        "accounts.credentials.lockout.purge",
        "accounts.throttling.purge",
        "accounts.credentials.tokens.purge",
        "agent.turns.turn.renew_held",
        "messaging.control.release_expired",
        "messaging.events.feed.purge",
        "messaging.events.feed.rebase",
        "messaging.receipts.settle_early_receipts",
        "messaging.outbox.drop_outdated",
        "messaging.outbox.mark_stuck_unconfirmed",
        "messaging.search.embeddings.embed_waiting",
        "messaging.search.index.index_waiting",
        "messaging.webhooks.deliveries.purge",
        "sessions_app.links.reconciliation.sync_due_bridges",
    }


def test_a_periodic_job_runs_again_and_again(settings, sales, monkeypatch):
    ran = threading.Semaphore(0)
    monkeypatch.setattr(periodic, "registry", [PeriodicJob(run=ran.release, every_s=lambda: 0.01, may_block=True)])
    engine.start()
    try:
        assert all(ran.acquire(timeout=20) for _ in range(3))
    finally:
        engine.stop(timeout_s=2)


def test_a_process_whose_clock_is_behind_finds_what_is_due(says, conversation, monkeypatch):
    says("Hello")
    real = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: real() - timedelta(hours=1))
    assert list(Conversation.objects.due()) == [conversation]
