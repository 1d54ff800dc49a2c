"""Browsers are notified of what needs a person: whom, when, how often, what stands in it, and where it never goes."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from structlog.testing import capture_logs

from accounts.models import User
from agent.models import PushMessage, PushSender, PushSubscription
from agent.push import sending
from agent.push.queue import MAX_AGE, queue_pushes
from agent.push.sending import send_pushes
from agent.push.subscriptions import public_key, subscribe
from messaging.control import take_over
from messaging.models import Conversation, Event
from messaging.teamwork import assign, finish
from sessions_app.models import Membership, WhatsAppSession
from tests.support.fake_receiver import Answer
from tests.support.messaging.admin import LogIn
from tests.support.messaging.push_service import PushService
from whatsapp_agent.errors import AppError, InvalidInput

pytestmark = pytest.mark.usefixtures("feed", "uncollected")


@pytest.fixture
def service(settings: Any) -> Iterator[PushService]:
    settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True
    settings.WEBHOOK_TIMEOUT_S = 10.0
    with PushService() as service:
        yield service


@pytest.fixture
def browser(staff_member: User, service: PushService) -> PushSubscription:
    """A browser of a member of the session, subscribed."""
    return subscribe(user=staff_member, login=a_login(staff_member), **service.fields)


def a_login(user: User) -> str:
    """Log in as this user; return the key of that login."""
    client = Client()
    client.force_login(user)
    return str(client.session.session_key)


def ask_for_a_person(conversation: Conversation, reason: str = "handoff") -> None:
    Conversation.objects.filter(pk=conversation.pk).update(needs_attention=True, attention_reason=reason)


def push() -> int:
    """Do what the worker does again and again."""
    queue_pushes()
    return send_pushes()


def test_a_conversation_that_needs_a_person_is_shown_without_name_or_words(
    browser: PushSubscription, conversation: Conversation, says: Callable[..., Any], service: PushService
) -> None:
    says("My secret words")
    ask_for_a_person(conversation)
    assert (push(), push()) == (1, 0)
    (shown,) = service.shown
    assert shown == {
        "title": "Somebody needs a person",
        "url": reverse("inbox-conversation", args=[conversation.pk]),
        "tag": conversation.pk.hex,
        "icon": "/static/agent/icon-192.png",
    }
    assert not PushMessage.objects.exists()


def test_a_request_is_signed_by_the_key_that_browsers_are_given(
    browser: PushSubscription, conversation: Conversation, service: PushService, settings: Any
) -> None:
    settings.DEFAULT_FROM_EMAIL = "The shop <shop@example.com>"
    ask_for_a_person(conversation)
    push()
    (request,) = service.receiver.requests
    claims, key = service.claims(request)
    assert (key, claims["sub"], claims["aud"]) == (public_key(), "mailto:shop@example.com", "http://127.0.0.1")
    assert (request.headers["content-encoding"], int(request.headers["ttl"])) == ("aes128gcm", MAX_AGE.total_seconds())
    assert request.headers["Topic"] == conversation.pk.hex


def test_who_is_assigned_is_notified_and_nobody_else(
    browser: PushSubscription, conversation: Conversation, staff_member: User, admin: User, service: PushService
) -> None:
    subscribe(user=admin, login=a_login(admin), **service.fields | {"endpoint": f"{service.receiver.url}/send/admin"})
    assign(conversation=conversation, to=staff_member)
    push()
    assert [request.path for request in service.receiver.requests] == ["/send/1"]
    assert service.shown[0]["title"] == "A conversation was assigned to you"


def test_who_takes_a_conversation_themselves_is_not_notified_of_it(
    browser: PushSubscription, conversation: Conversation, staff_member: User, admin: User, service: PushService
) -> None:
    assign(conversation=conversation, to=staff_member, by=staff_member)
    assert (push(), service.receiver.requests) == (0, [])
    assign(conversation=conversation, to=None, by=staff_member)
    assign(conversation=conversation, to=staff_member, by=admin)
    assert (push(), len(service.receiver.requests)) == (1, 1)


def test_a_notification_is_in_the_language_of_its_reader(
    browser: PushSubscription, conversation: Conversation, staff_member: User, service: PushService
) -> None:
    User.objects.filter(pk=staff_member.pk).update(language="pt-br")
    ask_for_a_person(conversation)
    push()
    assert service.shown[0]["title"] != "Somebody needs a person"


@pytest.mark.parametrize("changes", [
    {"alerts_waiting": False}, {"is_active": False}, {"is_staff": False},
])  # fmt: skip
def test_who_does_not_want_it_or_does_not_work_here_is_not_notified(
    browser: PushSubscription, conversation: Conversation, staff_member: User, service: PushService,
    changes: dict[str, bool],
) -> None:  # fmt: skip
    User.objects.filter(pk=staff_member.pk).update(**changes)
    ask_for_a_person(conversation)
    assert (push(), service.receiver.requests) == (0, [])


def test_a_stranger_and_a_viewer_are_not_notified(
    conversation: Conversation, session: WhatsAppSession, staff_stranger: User, staff_viewer: User,
    service: PushService,
) -> None:  # fmt: skip
    Membership.objects.create(session=session, user=staff_viewer)
    for user in (staff_stranger, staff_viewer):
        subscribe(
            user=user, login=a_login(user), **service.fields | {"endpoint": f"{service.receiver.url}/send/{user}"}
        )
    ask_for_a_person(conversation)
    assert (push(), service.receiver.requests) == (0, [])


def test_what_a_colleague_has_is_not_notified_to_others(
    browser: PushSubscription, conversation: Conversation, admin: User, service: PushService
) -> None:
    Conversation.objects.update(assigned_to=admin)
    ask_for_a_person(conversation)
    assert (push(), service.receiver.requests) == (0, [])


def test_what_was_settled_before_it_was_sent_is_not_notified(
    browser: PushSubscription, conversation: Conversation, service: PushService
) -> None:
    ask_for_a_person(conversation)
    assert queue_pushes() == 1
    finish(conversation=conversation)
    assert (send_pushes(), service.receiver.requests, PushMessage.objects.count()) == (0, [], 0)


def test_what_happened_before_the_browser_was_subscribed_is_not_notified(
    conversation: Conversation, staff_member: User, service: PushService
) -> None:
    ask_for_a_person(conversation)
    subscribe(user=staff_member, login=a_login(staff_member), **service.fields)
    assert push() == 0


def test_what_happened_long_ago_is_not_notified(
    browser: PushSubscription, conversation: Conversation, service: PushService
) -> None:
    ask_for_a_person(conversation)
    Event.objects.update(at=timezone.now() - MAX_AGE - timedelta(minutes=1))
    assert (push(), service.receiver.requests) == (0, [])


@pytest.mark.django_db(transaction=True)
def test_after_a_dump_was_restored_on_another_server_browsers_are_notified_again(
    browser: PushSubscription, conversation: Conversation, service: PushService
) -> None:
    PushSender.objects.update(read_transaction=2**40, read_event=1)
    ask_for_a_person(conversation)
    assert push() == 1


@pytest.mark.parametrize("status", [404, 410])
def test_a_browser_that_is_gone_is_forgotten(
    browser: PushSubscription, conversation: Conversation, service: PushService, status: int
) -> None:
    service.receiver.answer = Answer(status)
    ask_for_a_person(conversation)
    assert push() == 0
    assert not PushSubscription.objects.exists()


@pytest.mark.parametrize("answer", [Answer(503), Answer(429, headers={"Retry-After": "1"})])
def test_a_service_that_is_down_is_asked_again(
    browser: PushSubscription, conversation: Conversation, service: PushService, answer: Answer
) -> None:
    service.receiver.answer = answer
    ask_for_a_person(conversation)
    assert push() == 0
    (waiting,) = PushMessage.objects.all()
    assert (waiting.tries, waiting.next_try_at > timezone.now()) == (1, True)
    assert send_pushes() == 0  # not yet
    service.receiver.answer = Answer(201)
    PushMessage.objects.update(next_try_at=timezone.now())
    assert (send_pushes(), PushMessage.objects.count()) == (1, 0)


def test_a_service_that_does_not_answer_in_time_is_asked_again(
    browser: PushSubscription, conversation: Conversation, service: PushService, settings: Any
) -> None:
    settings.WEBHOOK_TIMEOUT_S = 0.5
    service.receiver.answer = Answer(delay_s=2)
    ask_for_a_person(conversation)
    assert (push(), PushMessage.objects.get().tries) == (0, 1)


def test_a_notification_is_given_up_when_it_is_too_old(
    browser: PushSubscription, conversation: Conversation, service: PushService
) -> None:
    ask_for_a_person(conversation)
    queue_pushes()
    PushMessage.objects.update(expires_at=timezone.now())
    assert (send_pushes(), PushMessage.objects.count(), service.receiver.requests) == (0, 0, [])


@pytest.mark.parametrize("status", [400, 401, 403, 413])
def test_a_notification_that_is_refused_is_dropped_and_the_browser_stays(
    browser: PushSubscription, conversation: Conversation, service: PushService, status: int
) -> None:
    service.receiver.answer = Answer(status)
    ask_for_a_person(conversation)
    push()
    assert (PushMessage.objects.count(), PushSubscription.objects.get().refused_status) == (0, status)
    service.receiver.answer = Answer(201)
    ask_for_a_person(conversation, reason="not_sent")
    assert (push(), PushSubscription.objects.get().refused_status) == (1, None)


@pytest.mark.parametrize(("body", "reason"), [
    (b'{"reason": "BadJwtToken"}', "BadJwtToken"), (b'{"reason": "https://push.example/abc"}', ""),
    (b'{"reason": ["x"]}', ""), (b"[" * 900, ""), (b"\xff", ""), (b"", ""),
])  # fmt: skip
def test_why_a_service_refuses_is_logged_as_one_word(
    browser: PushSubscription, conversation: Conversation, service: PushService, body: bytes, reason: str
) -> None:
    service.receiver.answer = Answer(403, body=body)
    ask_for_a_person(conversation)
    with capture_logs() as logs:
        push()
    (line,) = [line for line in logs if line["event"] == "push_not_sent"]
    assert (line["status"], line["reason"], line["subscription"]) == (403, reason, str(browser.pk))


def test_two_events_of_one_conversation_are_notified_once_while_the_first_waits(
    browser: PushSubscription, conversation: Conversation, service: PushService
) -> None:
    ask_for_a_person(conversation)
    ask_for_a_person(conversation, reason="not_sent")
    queue_pushes()
    assert (PushMessage.objects.count(), send_pushes()) == (1, 1)


@pytest.mark.parametrize("changes", [
    {"endpoint": "https://256.256.256.256/x"}, {"endpoint": "https://xn--a/"}, {"endpoint": "https://[::1"},
    {"p256dh": "x" * 87}, {"auth": "AAAA"},
])  # fmt: skip
def test_a_browser_that_cannot_be_sent_to_is_forgotten_and_stops_nobody_else(
    browser: PushSubscription, conversation: Conversation, admin: User, service: PushService, changes: dict[str, str]
) -> None:
    broken = subscribe(
        user=admin, login=a_login(admin), **service.fields | {"endpoint": f"{service.receiver.url}/send/broken"}
    )
    PushSubscription.objects.filter(pk=broken.pk).update(**changes)
    ask_for_a_person(conversation)
    with capture_logs() as logs:
        assert push() == 1
    assert (PushSubscription.objects.get(), PushMessage.objects.count()) == (browser, 0)
    (line,) = logs
    assert line == {
        "event": "push_subscription_unusable", "subscription": str(broken.pk), "log_level": "warning"
    }  # fmt: skip


@pytest.mark.parametrize("endpoint", [
    "https://256.256.256.256/x", "https://xn--a/", "https://1.2.3.4.5/", "https://push.example:0x/", "https://[1::",
])  # fmt: skip
def test_an_address_that_nobody_can_have_is_refused_with_a_reason(
    staff_member: User, service: PushService, log_in: LogIn, endpoint: str
) -> None:
    answer = log_in(staff_member).post(reverse("inbox-push"), service.fields | {"endpoint": endpoint})
    assert answer.status_code == 400
    assert answer.json()["detail"] in {"The address cannot be used.", "Invalid URL."}
    assert not PushSubscription.objects.exists()


@pytest.mark.parametrize(("public_url", "email_from", "contact"), [
    ("https://agent.example.com", "shop@example.com", "https://agent.example.com"),
    ("http://agent.example.com", "Shop <shop@example.com>", "mailto:shop@example.com"),
    ("https://localhost:8443", "shop@example.com", "mailto:shop@example.com"),
    ("https://agent.example.com", "", "https://agent.example.com"),
    ("", "", "mailto:whatsapp-agent@localhost"),
    ("", "whatsapp-agent@localhost", "mailto:whatsapp-agent@localhost"),
    ("", "shop@LOCALHOST.localdomain", "mailto:whatsapp-agent@localhost"),
    ("", "example.com", "mailto:whatsapp-agent@localhost"),
])  # fmt: skip
def test_the_contact_of_a_request_is_a_public_one_if_a_setting_names_one(
    browser: PushSubscription, conversation: Conversation, service: PushService, settings: Any,
    public_url: str, email_from: str, contact: str,
) -> None:  # fmt: skip
    settings.PUBLIC_URL, settings.DEFAULT_FROM_EMAIL = public_url, email_from
    ask_for_a_person(conversation)
    assert push() == 1
    claims, _ = service.claims(service.receiver.requests[0])
    assert claims["sub"] == contact


def test_what_cannot_be_started_before_its_claim_ends_is_left_to_the_next_batch(
    browser: PushSubscription, conversation: Conversation, service: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_for_a_person(conversation)
    with monkeypatch.context() as patch:
        patch.setattr(sending, "START_WITHIN_S", 0.0)
        assert (push(), service.receiver.requests) == (0, [])
    waiting = PushMessage.objects.get()
    assert (waiting.tries, waiting.next_try_at <= timezone.now()) == (0, True)
    assert send_pushes() == 1


def test_a_takeover_alone_is_not_notified(
    browser: PushSubscription, conversation: Conversation, staff_member: User, service: PushService
) -> None:
    take_over(conversation=conversation, by=staff_member)
    assert push() == 0


@pytest.mark.parametrize("endpoint", [
    "http://example.com/push", "https://127.0.0.1/push", "https://[::1]/push", "https://169.254.169.254/latest",
    "https://user:password@example.com/", "ftp://example.com/", "", "https://example.com/" + "x" * 1000,
])  # fmt: skip
def test_only_public_https_addresses_are_taken(
    staff_member: User, service: PushService, settings: Any, endpoint: str
) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = False
    with pytest.raises(AppError):
        subscribe(user=staff_member, login=a_login(staff_member), **service.fields | {"endpoint": endpoint})
    assert not PushSubscription.objects.exists()


def test_an_address_that_has_become_private_is_not_asked(
    browser: PushSubscription, conversation: Conversation, service: PushService, settings: Any
) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = False
    ask_for_a_person(conversation)
    assert (push(), service.receiver.requests) == (0, [])


@pytest.mark.parametrize("changes", [
    {"p256dh": ""}, {"p256dh": "x" * 87}, {"p256dh": "B" * 87}, {"auth": ""}, {"auth": "AAAA"}, {"auth": "ä"},
])  # fmt: skip
def test_keys_that_no_browser_has_are_refused(
    staff_member: User, service: PushService, changes: dict[str, str]
) -> None:
    with pytest.raises(InvalidInput):
        subscribe(user=staff_member, login=a_login(staff_member), **service.fields | changes)


def test_a_browser_belongs_to_who_has_used_it_last(
    browser: PushSubscription, staff_member: User, admin: User, service: PushService
) -> None:
    subscribe(user=admin, login=a_login(admin), **service.fields)
    assert PushSubscription.objects.get().user == admin


def test_our_key_is_made_once_and_stored_encrypted(db: None) -> None:
    assert public_key() == public_key()
    stored = PushSender.objects.extra(select={"raw": "private_key"}).values_list("raw", flat=True).get()
    assert "PRIVATE KEY" in PushSender.objects.get().private_key
    assert "PRIVATE KEY" not in stored


def test_an_operator_switches_it_on_and_off_and_only_for_themselves(
    staff_member: User, admin: User, service: PushService, log_in: LogIn
) -> None:
    client = log_in(staff_member)
    assert client.get(reverse("inbox-push-key")).json() == {"key": public_key()}
    assert client.post(reverse("inbox-push"), service.fields).status_code == 200
    log_in(admin).post(reverse("inbox-push-remove"), service.fields)
    assert PushSubscription.objects.get().user == staff_member
    client.post(reverse("inbox-push-remove"), service.fields)
    assert not PushSubscription.objects.exists()


def test_logging_out_ends_the_notifications_of_that_device_alone(
    staff_member: User, conversation: Conversation, service: PushService, log_in: LogIn
) -> None:
    shared, own = log_in(staff_member), log_in(staff_member)
    elsewhere = service.fields | {"endpoint": f"{service.receiver.url}/send/elsewhere"}
    for _ in range(2):  # the page renews it whenever it is opened
        shared.post(reverse("inbox-push"), service.fields)
        own.post(reverse("inbox-push"), elsewhere)
    assert shared.post(reverse("admin:logout")).status_code == 200
    ask_for_a_person(conversation)
    assert push() == 1
    assert [request.path for request in service.receiver.requests] == ["/send/elsewhere"]
    assert "_auth_user_id" not in shared.session


def test_logging_out_leaves_a_browser_to_the_colleague_who_uses_it_now(
    staff_member: User, admin: User, service: PushService, log_in: LogIn
) -> None:
    first = log_in(staff_member)
    first.post(reverse("inbox-push"), service.fields)
    log_in(admin).post(reverse("inbox-push"), service.fields)
    first.post(reverse("admin:logout"))
    assert PushSubscription.objects.get().user == admin


def test_a_link_to_the_logout_logs_nobody_out(staff_member: User, service: PushService, log_in: LogIn) -> None:
    client = log_in(staff_member)
    client.post(reverse("inbox-push"), service.fields)
    assert client.get(reverse("admin:logout")).status_code == 405
    assert PushSubscription.objects.exists()


def test_a_viewer_and_a_stranger_to_the_house_cannot_switch_it_on(
    staff_viewer: User, client: Any, service: PushService, log_in: LogIn
) -> None:
    assert log_in(staff_viewer).post(reverse("inbox-push"), service.fields).status_code == 403
    assert client.post(reverse("inbox-push"), service.fields).status_code == 401
    assert not PushSubscription.objects.exists()


def test_the_service_worker_is_served_above_the_pages_of_the_inbox(client: Any, db: None) -> None:
    answer = client.get(reverse("inbox-worker"))
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/javascript")
    assert reverse("inbox-worker").rpartition("/")[0] + "/" == reverse("inbox")
