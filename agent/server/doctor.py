"""The checks of `manage.py doctor`: what works, what does not, and what to do. No finding contains a secret, but the
address of a webhook whose secret was generated."""

import json
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import httpx
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count
from django.urls import reverse
from django.utils import timezone

from agent import heartbeats
from agent.bridges.base import Health
from agent.bridges.capabilities import Capability
from agent.bridges.exchange import BridgeError
from agent.llm import describe_limits, embedder_for_settings, model_for_settings
from agent.llm.base import Completion, ModelError, Prompt, PromptMessage, Role, ToolSpec
from agent.models import PushSubscription
from agent.push.subscriptions import public_contact
from agent.server import startup
from messaging.models import Conversation, Message, Turn, UnembeddedMessage
from messaging.receipts import RECEIPT_AFTER
from messaging.search import embeddings
from sessions_app import bridge_clocks, model_limits
from sessions_app.bridges import adapter_for, bridge_health, call_bridge, follows_settings, prices_of
from sessions_app.models import AgentProfile, Bridge, WhatsAppSession, WhatsAppSessionQuerySet
from sessions_app.services import KEY_REFUSED
from whatsapp_agent.postgres import clock, embedded
from whatsapp_agent.storage import disk

LATE = timedelta(minutes=2)
RECENTLY = timedelta(days=1)
SENT_SAMPLE = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `remedy` says what to do if it failed."""

    about: str
    is_healthy: bool
    text: str
    remedy: str = ""


def findings(*, forget_limits: bool = False) -> Iterator[Finding]:
    """Yield the result of each check as it ends; without a database, leave out what needs one.

    `forget_limits`: find out anew what the models do not take.
    """
    yield from _configuration()
    yield _web_server()
    database = _database()
    yield database
    yield _disk()
    if database.is_healthy:
        yield _clock()
        yield from _engine()
        yield from _bridges()
        yield from _sessions()
        yield from _pushes()
        if forget_limits:
            model_limits.forget_limits()
        yield from _models()
        yield from _embeddings()


def _configuration() -> Iterator[Finding]:
    about = "configuration"
    where = "the embedded database" if settings.EMBEDDED else "DATABASE_URL"
    yield Finding(about, True, f"complete, with {where}; data in {settings.DATA_DIR}")
    for name in settings.ENVIRONMENT.unread_names():
        yield Finding(about, False, f".env sets {name}, which nothing reads", "Is it spelled as in .env.example?")
    if settings.DEBUG:
        yield Finding(about, False, "DEBUG is on", "Set DEBUG=false: errors show settings and code to everyone.")
    secrets = settings.DATA_DIR / "secrets.env"
    if secrets.exists() and stat.S_IMODE(secrets.stat().st_mode) & 0o077:
        yield Finding(about, False, f"others may read {secrets}", f"chmod 600 '{secrets}'")
    if settings.HOST not in startup.LOOPBACK and not settings.HTTPS:
        yield Finding(
            about,
            False,
            f"HOST={settings.HOST} without HTTPS",
            "Put a proxy with TLS in front of it, and set HTTPS=true.",
        )
    if startup.has_no_name():
        text = "HTTPS is on, but ALLOWED_HOSTS only names this machine: requests for any other name get 400"
        yield Finding(about, False, text, "Add the names people use to ALLOWED_HOSTS.")


def _web_server() -> Finding:
    url = startup.local_url(settings.PORT)
    try:
        answered = httpx.get(f"{url}/health/", timeout=5.0)
        is_ours = answered.status_code == 200 and answered.json() == {"status": "healthy"}
    except (httpx.TransportError, ValueError):
        return Finding("web server", False, f"nothing answers at {url}", "Start it: make run, or manage.py up.")
    if is_ours:
        return Finding("web server", True, f"answers at {url}")
    return Finding("web server", False, f"something else answers at {url}", "Set another PORT.")


def _database() -> Finding:
    about = "database"
    try:
        if settings.EMBEDDED:
            embedded.ensure_running(settings.DATA_DIR / "postgres")
        startup.check_database()
    except (embedded.NotStarted, startup.CannotStart) as exc:
        return Finding(about, False, str(exc), "Correct this first; the rest depends on it.")
    executor = MigrationExecutor(connection)
    if pending := executor.migration_plan(executor.loader.graph.leaf_nodes()):
        text = f"{len(pending)} migrations are not applied"
        return Finding(about, False, text, "Start once (manage.py up applies them), or run manage.py migrate.")
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version')")
        version = cursor.fetchone()[0]
    return Finding(about, True, f"PostgreSQL {version} with pgvector at {startup.database_location()}, up to date")


def _disk() -> Finding:
    if disk.has_room():
        return Finding("disk", True, f"there is space left for {settings.DATA_DIR}")
    return Finding("disk", False, f"the disk of {settings.DATA_DIR} is full", "Delete something, or enlarge it.")


def _clock() -> Finding:
    offset = clock.offset_s()
    if abs(offset) <= clock.MAX_OFFSET_S:
        return Finding("clock", True, "the database and this machine agree on the time")
    return Finding("clock", False, clock.describe(offset), "Have both set their clocks by NTP.")


def _engine() -> Iterator[Finding]:
    about, now = "engine", timezone.now()
    program = "manage.py worker" if settings.REDIS_URL else "manage.py up"
    late = Conversation.objects.due().filter(due_at__lt=now - LATE).count()
    queued = Message.objects.filter(status=Message.Status.QUEUED, created_at__lt=now - LATE).count()
    if late or queued:
        yield Finding(
            about,
            False,
            f"{late} conversations wait for an answer and {queued} messages to be sent, for over two minutes",
            f"Does {program} run, and what does its log say? A failing bridge or model is listed below.",
        )
    else:
        yield Finding(about, True, "nothing has been waiting for long")
    works, processes = heartbeats.describe()
    yield Finding("workers" if settings.REDIS_URL else "engine processes", works, processes, heartbeats.remedy())
    failed = Turn.objects.failed().filter(created_at__gt=now - RECENTLY).count()
    if failed:
        yield Finding(
            about,
            False,
            f"{failed} turns failed within a day, and were not run again",
            "See why in the admin, and run them again: there, or by manage.py requeue.",
        )
    unconfirmed = Message.objects.filter(status=Message.Status.UNCONFIRMED, created_at__gt=now - RECENTLY).count()
    if unconfirmed:
        text = f"{unconfirmed} messages of the last day may or may not have been sent"
        yield Finding(about, False, text, "Check the phone, then settle them in the admin.")


def _bridges() -> Iterator[Finding]:
    try:
        bridges = list(Bridge.objects.order_by("slug"))
    except ImproperlyConfigured as exc:
        yield Finding("bridges", False, "their credentials cannot be read", str(exc))
        return
    if not bridges:
        yield Finding(
            "bridges", False, "there is none yet", "Start once: manage.py up creates those of the environment."
        )
    for bridge in bridges:
        health = bridge_health(bridge)
        yield _bridge(bridge, health)
        for difference in bridge_clocks.differences(bridge, health):
            remedy = (
                "Have its machine set its clock by NTP. If that is right: is this machine's, and does it post late?"
            )
            yield Finding(f"clock of {bridge.slug}", False, difference, remedy)
        if bridge.slug == Bridge.DEFAULT and not settings.WHATSAPP_WEBHOOK_SECRET:
            path = reverse("webhook", args=[bridge.slug, bridge.webhook_secret])
            text = f"the bridge posts to {settings.PUBLIC_URL or startup.public_url(settings.PORT)}{path}"
            yield Finding("webhook", True, f"{text} (its secret was generated; keep it secret)")


def _bridge(bridge: Bridge, health: Health) -> Finding:
    about = f"bridge {bridge.slug}"
    if bridge.slug == Bridge.DEFAULT and not follows_settings(bridge):
        text = "A variable WHATSAPP_… of the bridge has changed since the last start"
        return Finding(about, False, text, "Start again: manage.py up applies the change.")
    at = f"{bridge.kind} at {bridge.base_url}" if bridge.base_url else bridge.kind
    if not health.is_healthy:
        return Finding(
            about, False, f"{at} does not answer as it should", "Does it run, and is WHATSAPP_API_URL right?"
        )
    try:
        sessions = call_bridge(bridge, adapter_for(bridge).list_sessions())
    except BridgeError as exc:
        remedy = "Set WHATSAPP_API_KEY to its key." if exc.code == "unauthorized" else "See its log."
        return Finding(about, False, f"{at} answers, but does not list its sessions: {exc}", remedy)
    return Finding(about, True, f"{at} answers and takes our key; {len(sessions)} sessions" if bridge.base_url else at)


def _sessions() -> Iterator[Finding]:
    sessions = WhatsAppSession.objects.live()
    connected = sessions.filter(status=WhatsAppSession.Status.CONNECTED).count()
    yield Finding("sessions", True, f"{connected} connected")
    for session in sessions.exclude(status=WhatsAppSession.Status.CONNECTED).order_by("name"):
        remedy = f"Link it again: manage.py link_session {session.name}"
        if session.status_reason == KEY_REFUSED:
            remedy = "Set WHATSAPP_API_KEY, or the key of its bridge in the admin, to the bridge's key."
        why = f" ({session.status_reason})" if session.status_reason else ""
        yield Finding("sessions", False, f"{session.name} is {session.status}{why}", remedy)
    yield from _without_receipts(sessions)
    yield from _account_limits(sessions)
    yield from _prices(sessions)


def _account_limits(sessions: WhatsAppSessionQuerySet) -> Iterator[Finding]:
    """Report the limits that WhatsApp sets on the accounts of numbers, where their bridge can tell."""
    for session in sessions.filter(status=WhatsAppSession.Status.CONNECTED).select_related("bridge").order_by("name"):
        try:
            limits = call_bridge(session.bridge, adapter_for(session.bridge).account_limits(name=session.name))
        except BridgeError:
            continue  # reported as a finding of the bridge
        for limit in limits:
            if limit["active"]:
                until = f" until {timezone.localtime(limit['until']):%Y-%m-%d %H:%M}" if limit["until"] else ""
                quota = f" ({limit['used']} of {limit['total']} used)" if limit.get("total") is not None else ""
                text = f"{session.name}: WhatsApp limits this account, {limit['kind']}{quota}{until}"
                remedy = "People who never wrote to it cannot be written to. Let it rest; answer those who write."
                yield Finding("account limits", False, text, remedy)


def _prices(sessions: WhatsAppSessionQuerySet) -> Iterator[Finding]:
    """Report this month's delivered messages of numbers whose platform charges."""
    rows = list(sessions.select_related("bridge").order_by("name"))
    prices = prices_of(rows)
    for session in rows:
        if (month := prices.get(session.pk)) is not None:
            remedy = "Add a payment method to the WhatsApp business account at Meta."
            yield Finding("prices", not month.is_payment_missing, f"{session.name}: {month}", remedy)


def _pushes() -> Iterator[Finding]:
    """Report browsers whose push service refuses our notifications, or would."""
    about, browsers = "web push", PushSubscription.objects.count()
    if not browsers:
        return
    remedy = "Set PUBLIC_URL to the https address of this server, or EMAIL_FROM to an address that is not at localhost."
    is_named = bool(public_contact())
    if not is_named:
        yield Finding(about, False, "Apple's push service refuses senders that name no public contact", remedy)
    refused = PushSubscription.objects.exclude(refused_status=None).values_list("refused_status")
    for status, count in refused.annotate(Count("pk")).order_by("refused_status"):
        text = f"the push services of {count} of {browsers} browsers refused the last notification with {status}"
        see = "See `push_not_sent` in the log for the reason; switch it off and on again on that device."
        yield Finding(about, False, text, see if is_named else remedy)
    if is_named:
        yield Finding(about, True, f"{browsers} browsers are notified")


def _without_receipts(sessions: WhatsAppSessionQuerySet) -> Iterator[Finding]:
    """Find sessions whose last messages got no receipt, although their bridge reports them: WhatsApp drops silently."""
    now = timezone.now()
    for session in sessions.filter(status=WhatsAppSession.Status.CONNECTED).select_related("bridge").order_by("name"):
        if Capability.RECEIPTS not in adapter_for(session.bridge).capabilities:
            continue
        sent = Message.objects.filter(session=session, direction=Message.Direction.OUTBOUND)
        recent = sent.filter(sent_at__range=(now - RECENTLY, now - RECEIPT_AFTER)).order_by("-said_at")[:SENT_SAMPLE]
        statuses = [status for status, author in recent.values_list("status", "author") if author != "phone"]
        if len(statuses) >= SENT_SAMPLE // 2 and set(statuses) == {Message.Status.SENT}:
            text = f"{session.name}: none of the last {len(statuses)} messages was reported as delivered"
            remedy = "Does the bridge post receipts to us (manage.py setup_bridge)? If so, look at the phone."
            yield Finding("receipts", False, text, remedy)


def _models() -> Iterator[Finding]:
    """Ask each model that a profile names for one word, then for a tool call, then about a picture."""
    if not (settings.OPENAI_API_KEY or settings.OPENAI_BASE_URL):
        text = "a scripted stand-in answers, until OPENAI_API_KEY or OPENAI_BASE_URL is set"
        yield Finding("model", True, text)
        return
    named = set(AgentProfile.objects.exclude(model="").values_list("model", flat=True))
    for name in sorted(named | {settings.OPENAI_MODEL}):
        answers = _answers(name)
        yield answers
        if answers.is_healthy:
            yield _tools(name)
            yield _pictures(name)
            if limits := describe_limits(name):
                yield Finding(f"limits of {name}", True, f"it {'; it '.join(limits)}: this is left out for it")


def _ask(name: str, text: str, *, picture: str = "", tools: tuple[ToolSpec, ...] = ()) -> Completion:
    """Ask as a turn does, so that everything the server does not take is found out."""
    rules = PromptMessage(role=Role.SYSTEM, text="You are asked whether you work.")
    question = PromptMessage(role=Role.USER, text=text, picture=picture)
    prompt = Prompt(model=name, messages=(rules, question), tools=tools, temperature=0.5, max_output_tokens=1000)
    return model_for_settings().complete(prompt)


def _answers(name: str) -> Finding:
    about = f"model {name}"
    try:
        usage = _ask(name, "Answer with the word OK.").usage
    except ModelError as exc:
        return Finding(about, False, str(exc), MODEL_REMEDIES.get(exc.code, "Try again later; its server may be busy."))
    return Finding(about, True, f"answers ({usage.prompt_tokens + usage.completion_tokens} tokens)")


def _tools(name: str) -> Finding:
    """Check that it calls a tool. One that cannot is a fault only if a profile has tools."""
    about = f"tools of {name}"
    try:
        requests = _ask(name, "Call the tool `say` with the word OK, and write nothing.", tools=(PROBE,)).tool_requests
    except ModelError as exc:
        text = f"it takes none: {exc}"
    else:
        if any(request.name == PROBE.name and _says_ok(request.arguments) for request in requests):
            return Finding(about, True, "it calls them")
        takes_none = any(limit.startswith("takes no tools") for limit in describe_limits(name))
        text = "it calls them wrongly" if requests else "it accepts them, but called none when asked to"
        text = "it takes none" if takes_none else text
    profiles = AgentProfile.objects.filter(model__in=[name, ""] if name == settings.OPENAI_MODEL else [name])
    wanted = [profile.name for profile in profiles.order_by("name") if profile.tools]
    if not wanted:
        return Finding(about, True, f"{text}; no agent profile wants any")
    remedy = f"Choose a model that can, or take the tools from the agent profiles: {', '.join(wanted)}."
    return Finding(about, False, text, remedy)


def _says_ok(arguments: str) -> bool:
    try:
        given = json.loads(arguments)
    except (ValueError, RecursionError):
        return False
    return isinstance(given, dict) and "ok" in str(given.get("word")).lower()


def _pictures(name: str) -> Finding:
    """Ask it for the colour of one. Seeing none is no fault: the model reads that there was one."""
    about = f"pictures before {name}"
    try:
        text = _ask(name, "Which colour is this picture? Answer with one word.", picture=RED_PICTURE).text
    except ModelError as exc:
        return Finding(about, True, f"it takes none: {exc}")
    sees = re.search(r"\bred\b", text, re.IGNORECASE)
    return Finding(about, True, "it sees them" if sees else "it takes them, and does not see what is on them")


def _embeddings() -> Iterator[Finding]:
    """Ask the embedding model, if there is one, for one vector, and check that the database can compare vectors."""
    embedder = embedder_for_settings(timeout_s=settings.MODEL_TIMEOUT_S)
    if embedder is None:
        yield Finding("embeddings", True, "search compares words only until OPENAI_EMBEDDING_MODEL is set")
        return
    about = f"embeddings {embedder.model}"
    try:
        embeddings.require_pgvector()
        [vector] = embedder.embed(["OK"])
    except embeddings.NoPgvector as exc:
        yield Finding(about, False, "search compares words only", str(exc))
    except ModelError as exc:
        yield Finding(about, False, str(exc), MODEL_REMEDIES.get(exc.code, "Does the server have embeddings?"))
    else:
        waiting = UnembeddedMessage.objects.count()
        yield Finding(about, True, f"answers with {len(vector)} numbers; {waiting} messages wait to be embedded")


PROBE = ToolSpec(
    name="say",
    description="Say a word.",
    parameters={
        "type": "object",
        "properties": {"word": {"type": "string"}},
        "required": ["word"],
        "additionalProperties": False,
    },
)
# 64 by 64 pixels, all red.
RED_PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAQMAAACQp+OdAAAAA1BMVEX/AA"
    "AZ4gk3AAAAD0lEQVR42mNgGAWjgHwAAAJAAAHgTR1EAAAAAElFTkSuQmCC"
)
MODEL_REMEDIES = {
    "unauthorized": "Set OPENAI_API_KEY to a key that OPENAI_BASE_URL takes.",
    "model_not_found": "Set OPENAI_MODEL, or the profile's model, to one that the server has.",
    "connection": "Is OPENAI_BASE_URL right, and can this machine reach it?",
    "timeout": "Is OPENAI_BASE_URL right? A slow server may need a larger MODEL_TIMEOUT_S.",
    "redirect": "Set OPENAI_BASE_URL to the address it redirects to.",
    "bad_request": "Does the server have the API that OPENAI_API names (chat or responses)?",
    "insufficient_quota": "The account behind OPENAI_API_KEY has nothing left.",
}
