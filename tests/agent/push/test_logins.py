"""A browser is notified only for as long as its user may look: not after the login has ended, whatever ended it."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from agent.models import PushMessage, PushSubscription
from agent.push import subscriptions
from agent.push.queue import queue_pushes
from agent.push.sending import send_pushes
from messaging.models import Conversation
from sessions_app.models import Membership
from tests.support.messaging.admin import LogIn
from tests.support.messaging.push_service import PushService

pytestmark = pytest.mark.usefixtures("feed", "uncollected")


@pytest.fixture
def service(settings: Any) -> Iterator[PushService]:
    settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True
    settings.WEBHOOK_TIMEOUT_S = 10.0
    with PushService() as service:
        yield service


def expire(client: Client, user: User) -> None:
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))


def end_everywhere(client: Client, user: User) -> None:
    Session.objects.all().delete()


def change_password(client: Client, user: User) -> None:
    user.set_password("another long password 1")
    user.save()


def log_in_as_somebody_else(client: Client, user: User) -> None:
    other = User.objects.create_superuser("other", password="a long password 5")
    client.force_login(other)


def leave_the_number(client: Client, user: User) -> None:
    Membership.objects.filter(user=user).delete()


def be_deactivated(client: Client, user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


ENDS = [expire, end_everywhere, change_password, log_in_as_somebody_else, leave_the_number, be_deactivated]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("is_queued", [False, True])
def test_a_browser_whose_login_has_ended_is_notified_of_nothing(
    end: Callable[[Client, User], None], is_queued: bool, conversation: Conversation, staff_member: User,
    service: PushService, log_in: LogIn,
) -> None:  # fmt: skip
    client = log_in(staff_member)
    assert client.post(reverse("inbox-push"), service.fields).status_code == 200
    Conversation.objects.update(needs_attention=True, attention_reason="handoff")
    if is_queued:
        assert queue_pushes() == 1
    end(client, staff_member)
    queue_pushes()
    assert (send_pushes(), service.receiver.requests, PushMessage.objects.exists()) == (0, [], False)


def test_a_browser_is_notified_again_once_its_user_has_logged_in_again(
    conversation: Conversation, staff_member: User, service: PushService, log_in: LogIn
) -> None:
    log_in(staff_member).post(reverse("inbox-push"), service.fields)
    end_everywhere(Client(), staff_member)
    log_in(staff_member).post(reverse("inbox-push"), service.fields)  # the page does so whenever it is opened
    Conversation.objects.update(needs_attention=True, attention_reason="handoff")
    queue_pushes()
    assert (send_pushes(), PushSubscription.objects.count()) == (1, 1)


def test_a_browser_from_before_logins_were_stored_is_notified_of_nothing(
    conversation: Conversation, staff_member: User, service: PushService, log_in: LogIn
) -> None:
    log_in(staff_member).post(reverse("inbox-push"), service.fields)
    PushSubscription.objects.update(login="")
    Conversation.objects.update(needs_attention=True, attention_reason="handoff")
    queue_pushes()
    assert send_pushes() == 0


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_the_host_of_a_browser_is_looked_up(
    staff_member: User, service: PushService, log_in: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, is_open = log_in(staff_member), []
    look_up = subscriptions.check_target

    def watched(*args: Any, **kwargs: Any) -> Any:
        is_open.append(connection.in_atomic_block)
        return look_up(*args, **kwargs)

    monkeypatch.setattr(subscriptions, "check_target", watched)
    assert client.post(reverse("inbox-push"), service.fields).status_code == 200
    assert is_open == [False]
