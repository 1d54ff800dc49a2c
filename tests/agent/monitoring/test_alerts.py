"""Alerts: each condition fires once and recovers once, whoever looks; what is told of it, to whom."""

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from accounts.models import Role, User
from accounts.services import create_user
from agent.models import Alert, EngineProcess
from agent.monitoring.alert_rules import RULES
from agent.monitoring.alerts import check_alerts, check_others, delete_old_alerts
from agent.monitoring.mail import send_mails
from messaging.models import Conversation, Event, Message, Turn
from sessions_app.links.stopping import REPEATING
from sessions_app.models import Bridge, WhatsAppSession
from tests.support.fake_smtp import FakeSmtp
from tests.support.fake_zapw import FakeZapw
from tests.support.tls_server import TlsServer

PASSWORD, SOME_TIME = "for-tests-only-password", "2026-11-27T12:00:00+00:00"


@pytest.fixture(autouse=True)
def worker(db: None) -> EngineProcess:
    now = timezone.now()
    return EngineProcess.objects.create(kind="engine", host="one", pid=1, started_at=now, seen_at=now)


@pytest.fixture(autouse=True)
def data_dir(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    settings.ALERT_DISK_FREE_PERCENT = 0


@pytest.fixture
def admin(db: None) -> Any:
    return create_user(username="chief", password=PASSWORD, role=Role.ADMIN, email="chief@example.com")


@pytest.fixture
def zapw(bridge: Bridge) -> Iterator[FakeZapw]:
    with FakeZapw() as fake:
        Bridge.objects.filter(pk=bridge.pk).update(base_url=fake.url, api_key=fake.api_key)
        yield fake


@pytest.fixture
def smtp(settings: Any) -> Iterator[FakeSmtp]:
    with FakeSmtp() as fake:
        settings.EMAIL_URL = f"smtp://127.0.0.1:{fake.port}"
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", fake.port
        yield fake


def look() -> None:
    check_alerts()
    check_others()


def lasting() -> list[str]:
    look()
    return list(Alert.objects.filter(recovered_at=None).values_list("rule", flat=True))


def a_minute_later() -> None:
    """The conditions of now were last seen a while ago, as far as the alerts know."""
    Alert.objects.update(last_seen_at=timezone.now() - timedelta(minutes=2))


def ago(**units: float) -> datetime:
    return timezone.now() - timedelta(**units)


# --- each rule: what it is told of, and what ends it ----------------------------------------------------------------


def _number_offline(conversation: Conversation, settings: Any) -> Callable[[], object]:
    rows = WhatsAppSession.objects.filter(pk=conversation.session_id)
    rows.update(status="disconnected", status_changed_at=ago(minutes=6))
    return lambda: rows.update(status="connected", status_changed_at=timezone.now())


def _turns_fail(conversation: Conversation, settings: Any) -> Callable[[], object]:
    for outcome in ["failed"] * 5 + ["answered"] * 5:
        Turn.objects.create(conversation=conversation, outcome=outcome, started_at=timezone.now())
    return lambda: Turn.objects.update(created_at=ago(minutes=16))


def _sends_fail(conversation: Conversation, settings: Any) -> Callable[[], object]:
    for status in ["failed", "unconfirmed", "failed", "failed", "unconfirmed"]:
        conversation.messages.create(
            session=conversation.session, direction="outbound", author="agent", status=status, text="Hi."
        )
    return lambda: Message.objects.update(said_at=ago(minutes=16))


def _messages_wait(conversation: Conversation, settings: Any) -> Callable[[], object]:
    Conversation.objects.update(due_at=ago(minutes=3), burst_started_at=ago(minutes=3))
    return lambda: Conversation.objects.update(due_at=None, burst_started_at=None)


def _no_worker(conversation: Conversation, settings: Any) -> Callable[[], object]:
    EngineProcess.objects.update(seen_at=ago(minutes=1))
    return lambda: EngineProcess.objects.update(seen_at=timezone.now())


def _disk_nearly_full(conversation: Conversation, settings: Any) -> Callable[[], object]:
    settings.ALERT_DISK_FREE_PERCENT = 100
    return partial(setattr, settings, "ALERT_DISK_FREE_PERCENT", 0)


def _bridge_unreachable(conversation: Conversation, settings: Any) -> Callable[[], object]:
    url = Bridge.objects.get(slug="default").base_url
    Bridge.objects.filter(slug="default").update(base_url="http://127.0.0.1:9")
    return lambda: Bridge.objects.filter(slug="default").update(base_url=url)


def _quota_used_up(conversation: Conversation, settings: Any) -> Callable[[], object]:
    now = timezone.now()
    Conversation.objects.update(due_at=now + timedelta(minutes=1), retry_at=now, burst_started_at=now)
    note = "The model refuses its key, its name or the account (insufficient_quota); it is asked again for an hour."
    Conversation.objects.all().ask_for_attention(Conversation.Attention.MODEL_REFUSES, note=note)
    return lambda: Conversation.objects.update(due_at=None, retry_at=None, needs_attention=False, attention_reason="")


def _payment_missing(conversation: Conversation, settings: Any) -> Callable[[], object]:
    values = {"session": conversation.session, "conversation": conversation, "direction": "outbound", "author": "agent"}
    Message.objects.create(**values, status="failed", error_code="payment")
    return lambda: Message.objects.create(**values, status="delivered", delivered_at=timezone.now())


def _certificate_expires(conversation: Conversation, settings: Any) -> Callable[[], object]:
    server = TlsServer(valid_for=timedelta(days=3)).start()
    settings.OPENAI_BASE_URL = f"https://localhost:{server.port}/v1"
    return lambda: server.renew(valid_for=timedelta(days=90))


def _account_limited(conversation: Conversation, settings: Any) -> Callable[[], object]:
    WhatsAppSession.objects.update(account_limits={"lock": {"active": True, "until": None, "reported_at": SOME_TIME}})
    return lambda: WhatsAppSession.objects.update(account_limits={})


def _number_stopped(conversation: Conversation, settings: Any) -> Callable[[], object]:
    WhatsAppSession.objects.update(status_reason=REPEATING)
    return lambda: WhatsAppSession.objects.update(status_reason="")


CONDITIONS = {
    "number_offline": _number_offline,
    "turns_fail": _turns_fail,
    "sends_fail": _sends_fail,
    "messages_wait": _messages_wait,
    "no_worker": _no_worker,
    "disk_nearly_full": _disk_nearly_full,
    "bridge_unreachable": _bridge_unreachable,
    "certificate_expires": _certificate_expires,
    "payment_missing": _payment_missing,
    "account_limited": _account_limited,
    "number_stopped": _number_stopped,
    "quota_used_up": _quota_used_up,
}


def test_each_rule_has_a_test():
    assert [rule.name for rule in RULES] == list(CONDITIONS)


@pytest.mark.parametrize("rule", CONDITIONS)
def test_an_alert_fires_once_and_recovers_once(rule, conversation, zapw, admin, settings):
    assert lasting() == []
    mend = CONDITIONS[rule](conversation, settings)
    assert lasting() == [rule]
    assert lasting() == [rule]  # seen again, not told again
    assert list(Event.objects.filter(type__startswith="alert.").values_list("type", flat=True)) == ["alert.fired"]
    mend()
    assert lasting() == [rule]  # gone for a moment only
    a_minute_later()
    assert lasting() == []
    assert lasting() == []
    assert list(Event.objects.filter(type__startswith="alert.").order_by("id").values_list("type", "data__rule")) == [
        ("alert.fired", rule),
        ("alert.recovered", rule),
    ]
    alert = Alert.objects.get()
    assert {each.data["alert"] for each in Event.objects.filter(type__startswith="alert.")} == {str(alert.pk)}


# --- where a rule ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "minutes", "is_linked", "is_told"),
    [
        ("disconnected", 6, True, True),
        ("logged_out", 6, True, True),
        ("qr_waiting", 6, True, True),
        ("qr_waiting", 600, False, False),  # a number that is about to be linked for the first time
        ("disconnected", 4, True, False),  # it may come back by itself
        ("connected", 600, True, False),
    ],
)
def test_a_number_is_offline_when_it_lost_its_link_for_a_while(session, zapw, status, minutes, is_linked, is_told):
    at = {"status_changed_at": ago(minutes=minutes), "linked_at": ago(days=1) if is_linked else None}
    WhatsAppSession.objects.update(status=status, **at)
    assert (lasting() == ["number_offline"]) is is_told


def test_an_ended_session_is_not_offline(session, zapw):
    WhatsAppSession.objects.update(status="logged_out", status_changed_at=ago(hours=1), ended_at=ago(hours=1))
    assert lasting() == []


def test_two_numbers_that_are_offline_are_two_alerts(session, zapw, profile):
    WhatsAppSession.objects.create(bridge=session.bridge, name="support", agent_profile=profile, status="connected")
    WhatsAppSession.objects.update(status="disconnected", status_changed_at=ago(hours=1))
    look()
    assert set(Alert.objects.values_list("subject", flat=True)) == {"sales", "support"}


def test_a_few_failures_among_many_turns_are_no_alert(conversation, zapw):
    for outcome in ["failed"] * 5 + ["answered"] * 30:
        Turn.objects.create(conversation=conversation, outcome=outcome, started_at=timezone.now())
    assert lasting() == []


def test_a_turn_that_is_tried_again_and_again_makes_its_message_wait(conversation, zapw):
    Conversation.objects.update(
        due_at=timezone.now() + timedelta(seconds=50), retry_at=timezone.now(), burst_started_at=ago(minutes=5)
    )
    assert lasting() == ["messages_wait"]


def test_a_long_debounce_is_no_alert(conversation, zapw):
    Conversation.objects.update(due_at=timezone.now() + timedelta(minutes=1), burst_started_at=ago(minutes=5))
    assert lasting() == []


def test_what_a_person_controls_does_not_wait_for_the_agent(conversation, zapw):
    Conversation.objects.update(due_at=ago(hours=1), burst_started_at=ago(hours=1), control="human")
    assert lasting() == []


def test_a_machine_does_not_end_the_alert_of_another_machines_disk(zapw, settings, profile):
    settings.ALERT_DISK_FREE_PERCENT = 100
    look()
    Alert.objects.update(subject="another-machine")
    settings.ALERT_DISK_FREE_PERCENT = 0
    a_minute_later()
    assert lasting() == ["disk_nearly_full"]
    Alert.objects.update(last_seen_at=ago(days=2))  # that machine is gone
    assert lasting() == []


@pytest.mark.parametrize(
    ("valid_for", "text"),
    [(timedelta(days=13), "expires at"), (timedelta(days=-1), "has expired at"), (timedelta(days=20), "")],
)
def test_a_certificate_is_looked_at_in_time(zapw, profile, settings, valid_for, text):
    server = TlsServer(valid_for=valid_for).start()
    settings.OPENAI_BASE_URL = f"https://localhost:{server.port}/v1"
    look()
    assert [text in detail for detail in Alert.objects.values_list("detail", flat=True)] == ([True] if text else [])


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:9/v1", "https://127.0.0.1:9/v1"])
def test_a_server_without_a_certificate_or_an_answer_has_none_that_expires(zapw, profile, settings, url):
    settings.OPENAI_BASE_URL = url
    assert lasting() == []


def test_a_rule_that_fails_does_not_silence_the_others(conversation, zapw, settings):
    _number_offline(conversation, settings)
    settings.ALERT_FAILURES = "not a number"  # both rules that count fail
    assert lasting() == ["number_offline"]


# --- once, whoever looks ------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_many_processes_that_check_together_report_it_once(worker, conversation, zapw, admin, smtp):
    EngineProcess.objects.update(seen_at=ago(minutes=1))
    begin = threading.Barrier(4)

    def process() -> None:
        try:
            begin.wait(20)
            for _ in range(3):
                check_alerts()
                send_mails()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=process) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert Alert.objects.count() == 1
    assert Event.objects.filter(type="alert.fired").count() == 1
    assert [mail.subject for mail in smtp.mails] == ["[WhatsApp Agent] Alert: No process takes turns and sends"]


# --- who is told ----------------------------------------------------------------------------------------------------


def test_each_administrator_reads_the_event_of_the_installation_and_nobody_else_does(conversation, zapw, admin):
    other = create_user(username="other", password=PASSWORD, role=Role.ADMIN)
    member = create_user(username="member", password=PASSWORD, role=Role.OPERATOR)
    conversation.session.members.add(member)
    EngineProcess.objects.all().delete()
    look()
    told = {
        user.username: list(Event.objects.visible_to(user).filter(type="alert.fired"))
        for user in (admin, other, member)
    }
    assert {name: len(events) for name, events in told.items()} == {"chief": 1, "other": 1, "member": 0}


def test_who_sees_a_number_reads_that_it_is_offline(conversation, zapw, admin, settings):
    member = create_user(username="member", password=PASSWORD, role=Role.OPERATOR)
    stranger = create_user(username="stranger", password=PASSWORD, role=Role.OPERATOR)
    conversation.session.members.add(member)
    _number_offline(conversation, settings)
    look()
    event = Event.objects.get(type="alert.fired")
    assert event.data["session"] == str(conversation.session_id)
    readers = [user.username for user in (admin, member, stranger) if event in Event.objects.visible_to(user)]
    assert readers == ["chief", "member"]


def test_alerts_are_a_page_for_administrators_alone(client, uncollected, admin, conversation, zapw, settings):
    _number_offline(conversation, settings)
    look()
    client.force_login(create_user(username="member", password=PASSWORD, role=Role.OPERATOR))
    assert client.get("/admin/agent/alert/").status_code == 403
    client.force_login(admin)
    assert "number_offline" in client.get("/admin/agent/alert/").content.decode()
    assert client.get(f"/admin/agent/alert/{Alert.objects.get().pk}/change/").status_code == 200


# --- e-mail -------------------------------------------------------------------------------------------------------


def test_administrators_are_mailed_once_when_it_begins_and_once_when_it_has_gone(
    conversation, zapw, admin, smtp, settings
):
    create_user(username="member", password=PASSWORD, role=Role.OPERATOR, email="member@example.com")
    mend = _number_offline(conversation, settings)
    for _ in range(2):
        look()
        send_mails()
    mend()
    a_minute_later()
    for _ in range(2):
        look()
        send_mails()
    assert [(mail.recipients, mail.subject) for mail in smtp.mails] == [
        (["chief@example.com"], "[WhatsApp Agent] Alert: A number is offline: sales"),
        (["chief@example.com"], "[WhatsApp Agent] Recovered: A number is offline: sales"),
    ]
    assert "manage.py link_session" in smtp.mails[0].text
    assert "has recovered at" in smtp.mails[1].text


@pytest.mark.parametrize(("other", "word"), [("pt-br", "Vincule de novo"), ("", "Link it again")])
def test_a_mail_is_in_the_language_that_all_its_readers_have_chosen(
    conversation, zapw, admin, smtp, settings, other, word
):
    _number_offline(conversation, settings)
    create_user(username="other", password=PASSWORD, role=Role.ADMIN, email="other@example.com")
    User.objects.filter(username="other").update(language=other)
    User.objects.filter(pk=admin.pk).update(language="pt-br")
    look()
    send_mails()
    assert word in smtp.mails[0].text


def test_the_addresses_of_the_settings_are_mailed_instead(conversation, zapw, admin, smtp, settings):
    settings.ALERT_EMAILS = ["ops@example.com", "night@example.com"]
    _number_offline(conversation, settings)
    look()
    send_mails()
    assert [mail.recipients for mail in smtp.mails] == [["ops@example.com", "night@example.com"]]


def test_a_mail_that_was_refused_is_sent_later_with_the_state_of_that_time(conversation, zapw, admin, smtp, settings):
    mend = _number_offline(conversation, settings)
    look()
    smtp.refuses = True
    send_mails()
    assert smtp.mails == []
    mend()
    a_minute_later()
    look()
    smtp.refuses = False
    send_mails()
    assert smtp.mails == []  # still claimed
    Alert.objects.update(mail_claimed_until=ago(seconds=1))
    send_mails()
    send_mails()
    assert [mail.subject for mail in smtp.mails] == ["[WhatsApp Agent] Recovered: A number is offline: sales"]


def test_a_hostile_session_name_adds_no_header(conversation, zapw, admin, smtp, settings):
    WhatsAppSession.objects.update(name="sales\r\nBcc: everybody@example.com")
    _number_offline(conversation, settings)
    look()
    send_mails()
    (mail,) = smtp.mails
    assert mail.recipients == ["chief@example.com"]
    assert mail.subject.endswith("sales Bcc: everybody@example.com")


def test_without_a_mail_server_nothing_is_sent(conversation, zapw, admin, settings, mailoutbox):
    settings.EMAIL_URL = ""
    _number_offline(conversation, settings)
    look()
    send_mails()
    assert mailoutbox == []


def test_old_alerts_are_deleted_and_lasting_ones_stay(conversation, zapw, settings):
    _number_offline(conversation, settings)
    look()
    Alert.objects.update(fired_at=ago(days=200))
    delete_old_alerts()
    assert Alert.objects.count() == 1
    Alert.objects.update(recovered_at=ago(days=91))
    delete_old_alerts()
    assert not Alert.objects.exists()


def test_an_alert_holds_no_phone_number_and_no_text(conversation, zapw, admin, smtp, settings):
    for rule in CONDITIONS.values():
        rule(conversation, settings)
        look()  # some of them exclude each other
    send_mails()
    shown = [str(each) for each in smtp.mails] + [str(event.data) for event in Event.objects.filter(type="alert.fired")]
    assert len(Alert.objects.all()) == len(RULES)
    assert not [each for each in shown if "5511" in each or "Ana" in each]
