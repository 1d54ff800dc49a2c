"""The self check: send the agent one message over HTTP through the simulator's webhook, and wait for its answer."""

import time
from dataclasses import dataclass
from uuid import uuid4

import httpx
from django.db import transaction
from django.db.models import Max

from messaging.models import Conversation, Message, Turn
from sessions_app.models import Bridge, WhatsAppSession
from whatsapp_agent import postgres
from whatsapp_agent.errors import AppError

QUESTION = "Hello, is everything working?"
SESSION = "self-check"
CONTACT = "15550100000@s.whatsapp.net"  # in the range 555-01xx, which is reserved for fiction
POLL_INTERVAL_S = 0.05


class SelfCheckFailed(AppError):
    status, code, detail = 503, "self_check_failed", "The self check got no answer."


@dataclass(frozen=True, slots=True)
class SelfCheck:
    text: str
    seconds: float


def run_self_check(base_url: str, *, timeout_s: float = 30.0) -> SelfCheck:
    """Write to the agent at `base_url`, return its answer and leave nothing behind. Raises SelfCheckFailed."""
    try:
        return _ask(base_url, timeout_s=timeout_s)
    finally:
        _delete_conversation()


def _delete_conversation() -> None:
    with transaction.atomic():
        Conversation.objects.filter(session__name=SESSION, session__bridge__slug=Bridge.SIMULATOR).delete()
        WhatsAppSession.objects.filter(name=SESSION, bridge__slug=Bridge.SIMULATOR).delete()


def _ask(base_url: str, *, timeout_s: float) -> SelfCheck:
    secret = Bridge.objects.get(slug=Bridge.SIMULATOR).webhook_secret
    message_id = f"self-check-{uuid4().hex}"
    tries_before = Conversation.objects.filter(session__name=SESSION).aggregate(most=Max("tries"))["most"] or 0
    event = {"event": "message", "session": SESSION, "id": message_id, "chat": CONTACT, "name": "Self check"}
    started = time.monotonic()
    try:
        response = httpx.post(
            f"{base_url}/api/v1/webhooks/{Bridge.SIMULATOR}/{secret}/",
            json=event | {"text": QUESTION},
            timeout=timeout_s,
        )
    except httpx.TransportError as exc:
        raise SelfCheckFailed(f"{base_url} does not answer: {type(exc).__name__}.") from exc
    if response.status_code != 200:
        raise SelfCheckFailed(f"{base_url} did not take the message: HTTP {response.status_code}.")
    while time.monotonic() < started + timeout_s:
        if (answer := _answer_to(message_id, tries_before)) is not None:
            return SelfCheck(text=answer.text, seconds=time.monotonic() - started)
        postgres.release()
        time.sleep(POLL_INTERVAL_S)
    raise SelfCheckFailed(f"No answer within {timeout_s:g} s.")


def _answer_to(message_id: str, tries_before: int) -> Message | None:
    question = Message.objects.select_related("conversation").get(session__name=SESSION, provider_message_id=message_id)
    since = {"conversation": question.conversation, "created_at__gte": question.created_at}
    answer = Message.objects.filter(**since, author=Message.Author.AGENT).order_by("created_at").first()
    if answer is not None and answer.status == Message.Status.FAILED:
        raise SelfCheckFailed(f"The answer could not be sent: {answer.error or answer.error_code}.")
    if answer is not None and answer.sent_at is not None:
        return answer
    if question.conversation.tries > tries_before + 1:
        raise SelfCheckFailed("The model failed to answer twice and is retried; see the log.")
    turn = Turn.objects.filter(**since).exclude(outcome=Turn.Outcome.ANSWERED).first()
    if turn is not None:
        raise SelfCheckFailed(f"The turn {turn.outcome}: {turn.reason}.")
    return None
