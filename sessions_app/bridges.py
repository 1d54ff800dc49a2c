"""How a bridge is reached: its row, its adapter, the calls to it, and what its platform charges."""

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from agent.bridges import ADAPTERS
from agent.bridges.addresses import phone_as_written
from agent.bridges.base import BridgeAdapter, BridgeConfig, Health, WebhookTarget
from agent.bridges.capabilities import Capability
from agent.bridges.exchange import BridgeError, Result, Steps
from agent.bridges.transport import HttpTransport
from sessions_app.models import Bridge, WhatsAppSession
from whatsapp_agent import postgres
from whatsapp_agent.callback import Callback
from whatsapp_agent.errors import AppError, BridgeFailed, Conflict, InvalidPhone, NotSupportedByBridge
from whatsapp_agent.postgres.prepared import Statement
from whatsapp_agent.postgres.row_cache import VersionedRowCache
from whatsapp_agent.text.stored import translate_stored

BRIDGE_OF_SLUG = Statement("SELECT id, ROW(xmin, ctid)::text FROM sessions_app_bridge WHERE slug = %(slug)s")

FORMER_SECRET_TTL = timedelta(hours=24)
UNREACHABLE = frozenset({"bridge_unreachable", "timeout"})  # the next call would only wait as long

bridge_cache = VersionedRowCache(Bridge)
_remembered: dict[str, Bridge] = {}


def values_of_settings() -> dict[str, str]:
    return {
        "kind": settings.WHATSAPP_BRIDGE,
        "base_url": settings.WHATSAPP_API_URL,
        "api_key": settings.WHATSAPP_API_KEY,
        "signing_key": settings.WHATSAPP_SIGNING_KEY,
        "verify_token": settings.WHATSAPP_VERIFY_TOKEN,
    }


def follows_settings(bridge: Bridge) -> bool:
    """Return whether the `default` bridge is as the settings say; a start makes it so."""
    return all(getattr(bridge, name) == value for name, value in values_of_settings().items())


def bridge_of_slug(slug: str) -> Bridge | None:
    """Return the bridge with this slug, or None. All threads share the cached object: do not change it."""
    for pk, version in BRIDGE_OF_SLUG.rows(slug=slug):
        bridge = bridge_cache.get(pk, version)
        bridge.row_version = version
        _remembered[slug] = bridge
        return bridge
    _remembered.pop(slug, None)
    return None


class BridgeChanged(AppError):
    """A bridge is not as the database has it now: read it again with `bridge_of_slug`."""

    status, code, detail = 503, "unavailable", gettext_lazy("The bridge was changed meanwhile. Send the request again.")


def remembered_bridge(slug: str) -> Bridge | None:
    """Return the bridge with this slug as this process read it last, or None.

    It may have changed or gone since: its `row_version` has to be compared with the row before anything is stored.
    """
    return _remembered.get(slug)


def ensure_unchanged(bridge: Bridge) -> None:
    """Raises BridgeChanged if a remembered bridge has changed."""
    if bridge.row_version and (bridge.pk, bridge.row_version) not in BRIDGE_OF_SLUG.rows(slug=bridge.slug):
        raise BridgeChanged


def adapter_for(bridge: Bridge) -> BridgeAdapter:
    """Return the adapter of a bridge: its capabilities, and how to phrase requests and read answers. Does no I/O."""
    return _adapter(
        bridge.kind,
        BridgeConfig(
            base_url=bridge.base_url,
            api_key=bridge.api_key,
            signing_key=bridge.signing_key,
            verify_token=bridge.verify_token or bridge.webhook_secret,
            timeout_s=settings.BRIDGE_TIMEOUT_S,
        ),
    )


def call_bridge(bridge: Bridge, steps: Steps[Result]) -> Result:
    """Make the requests of one call and return its result. Raises BridgeError."""
    return _transport(adapter_for(bridge)).run(steps)


def phone_to_pair(bridge: Bridge, phone: str) -> str:
    """Return E.164 of a phone to link by a pairing code. Raises NotSupportedByBridge or InvalidPhone."""
    if Capability.LINK_BY_PAIRING_CODE not in adapter_for(bridge).capabilities:
        raise NotSupportedByBridge(_("The bridge %(slug)s has no pairing codes.") % {"slug": bridge.slug})
    number = phone_as_written(phone)
    if number is None:
        raise InvalidPhone(field="phone")
    return number


@dataclass(frozen=True, slots=True)
class MonthPrices:
    """What a platform charges for the messages of a number that it has delivered this month.

    `replies` are those in free form, of which the first `free_replies` of a month are free; `billable` is how many
    messages of any kind it says it charges. `is_payment_missing`: the last message failed for want of a payment method.
    """

    replies: int = 0
    billable: int = 0
    is_payment_missing: bool = False
    free_replies: int = 0

    @property
    def month(self) -> str:
        return f"{month_start():%Y-%m}"

    @property
    def free_replies_left(self) -> int:
        return max(0, self.free_replies - self.replies)

    @property
    def state(self) -> str:
        """`free`, `charged` (the free replies are used up) or `payment_missing` (nothing more is delivered)."""
        if self.is_payment_missing:
            return "payment_missing"
        return "free" if self.free_replies_left else "charged"

    def __str__(self) -> str:
        free = f"{self.free_replies:,} are free"
        text = f"{self.replies:,} replies delivered this month ({free}); Meta charges for {self.billable:,} messages"
        return f"{text}; it delivers no more: a payment method is missing" if self.is_payment_missing else text


def month_start() -> datetime:
    return timezone.localtime().replace(day=1, hour=0, minute=0, second=0, microsecond=0)


count_prices = Callback[[Sequence[UUID]], dict[UUID, MonthPrices]](default=lambda _: {})


def prices_of(sessions: Iterable[WhatsAppSession]) -> dict[UUID, MonthPrices]:
    """Return what this month costs for each session whose platform charges, with one query for all of them."""
    free = {session.pk: adapter_for(session.bridge).free_replies_per_month for session in sessions}
    charging = {pk: replies for pk, replies in free.items() if replies is not None}
    counted = count_prices(list(charging)) if charging else {}
    return {pk: replace(counted.get(pk, MonthPrices()), free_replies=replies) for pk, replies in charging.items()}


def webhook_target(bridge: Bridge) -> WebhookTarget | None:
    """Return address and keys of our webhook for the bridge; None without PUBLIC_URL."""
    if not settings.PUBLIC_URL:
        return None
    return WebhookTarget(
        url=f"{settings.PUBLIC_URL}{bridge.webhook_path}",
        signing_key=bridge.signing_key,
        verify_token=bridge.verify_token or bridge.webhook_secret,
    )


def is_of_environment(bridge: Bridge) -> bool:
    """Return whether each start sets this bridge from the environment, so that nobody else may."""
    return bridge.slug in {Bridge.DEFAULT, Bridge.SIMULATOR}


def create_bridge(**values: Any) -> Bridge:
    """Create a bridge with a webhook address of its own. Raises Conflict if the slug is taken."""
    try:
        with transaction.atomic():
            return Bridge.objects.create(webhook_secret=secrets.token_urlsafe(32), **values)
    except IntegrityError as exc:
        raise Conflict(_("There is a bridge with this slug already.")) from exc


def change_bridge(bridge: Bridge, **values: Any) -> Bridge:
    """Raises Conflict if the bridge is set by the environment, or if the slug is taken."""
    if is_of_environment(bridge):
        raise Conflict(_("The bridge %(slug)s is set by the environment at each start.") % {"slug": bridge.slug})
    for name, value in values.items():
        setattr(bridge, name, value)
    try:
        with transaction.atomic():
            bridge.save(update_fields=list(values))
    except IntegrityError as exc:
        raise Conflict(_("There is a bridge with this slug already.")) from exc
    return bridge


def delete_bridge(bridge: Bridge) -> None:
    """Raises Conflict if the bridge is set by the environment, or has sessions."""
    if is_of_environment(bridge):
        raise Conflict(_("The bridge %(slug)s is set by the environment at each start.") % {"slug": bridge.slug})
    try:
        bridge.delete()
    except ProtectedError as exc:
        raise Conflict(_("The bridge has numbers: move them to another one first.")) from exc


def former_secret_values(bridge: Bridge) -> dict[str, Any]:
    """Return the values by which the present webhook secret stays accepted for FORMER_SECRET_TTL."""
    return {
        "former_webhook_secret": bridge.webhook_secret,
        "former_webhook_secret_until": timezone.now() + FORMER_SECRET_TTL,
    }


@transaction.atomic
def renew_webhook_secret(bridge: Bridge, *, accepts_former: bool, keep: Callable[[str], None] = lambda _: None) -> bool:
    """Give the bridge a new webhook secret; `keep` is called with it before it is stored.

    With `accepts_former` the present one is accepted for FORMER_SECRET_TTL. Return False then, and change nothing,
    while an earlier one still is: the bridge may not have the present address yet.
    """
    bridge = Bridge.objects.select_for_update().get(pk=bridge.pk)
    if accepts_former and bridge.accepted_former_secret:
        return False
    values: dict[str, Any] = {"former_webhook_secret": "", "former_webhook_secret_until": None}
    if accepts_former:
        values = former_secret_values(bridge)
    values["webhook_secret"] = secrets.token_urlsafe(32)
    keep(values["webhook_secret"])
    for name, value in values.items():
        setattr(bridge, name, value)
    bridge.save(update_fields=list(values))
    return True


def end_former_secret(bridge: Bridge) -> bool:
    """Accept the former webhook secret no longer; return whether it was."""
    bridge = Bridge.objects.get(pk=bridge.pk)
    rows = Bridge.objects.filter(pk=bridge.pk)
    rows.update(former_webhook_secret="", former_webhook_secret_until=None)
    return bool(bridge.accepted_former_secret)


known_accounts = Callback[[Bridge], list[str]](default=lambda _: [])
sync_accounts = Callback[[Bridge, Sequence[str]], list[str]](default=lambda *_: [])


def setup_bridge(bridge: Bridge, *, account: str = "") -> list[str]:
    """Configure our webhook address for each session of the bridge; return what was done, and what to do, as text.

    `account`: the id of a business account (WABA) whose events are to come; empty: the accounts we know. Raises
    BridgeFailed with a line for each session or account that failed; the others are configured all the same, unless the
    bridge cannot be reached.
    """
    adapter = adapter_for(bridge)
    target = webhook_target(bridge)
    if target is None:
        return [_("Set PUBLIC_URL to where the bridge reaches this server; then run this again.")]
    if Capability.SET_WEBHOOK not in adapter.capabilities:
        return [
            _("The bridge %(slug)s has no API call for this. Configure there: %(url)s")
            % {"slug": bridge.slug, "url": target.url}
        ]
    sessions = list(bridge.sessions.live().order_by("name"))
    accounts = [account] if account else known_accounts(bridge) if adapter.webhook_fields else []
    postgres.release()
    failures = []
    calls = [(each.name, partial(adapter.set_webhook, name=each.name, webhook=target)) for each in sessions]
    calls += [(each, partial(adapter.subscribe_account, account=each)) for each in accounts]
    for name, call in calls:
        try:
            call_bridge(bridge, call())
        except BridgeError as exc:
            failures.append(f"{name}: {translate_stored(str(exc))}")
            if exc.code in UNREACHABLE:
                break
        else:
            if adapter.webhook_restarts_session:
                bridge.sessions.filter(name=name).link_anew()
    if failures:
        raise BridgeFailed("\n".join(failures))
    text = _("%(name)s: events now come to this server.")
    if adapter.webhook_fields:
        text = _("%(name)s: our webhook address is configured.")
    lines = [text % {"name": session.name} for session in sessions]
    if not sessions:
        lines = [
            _("The bridge %(slug)s has no numbers yet; each new one is configured when it is linked.")
            % {"slug": bridge.slug}
        ]
    if not adapter.webhook_fields:
        return lines
    return lines + sync_accounts(bridge, accounts) + _platform_steps(bridge, target=target, accounts=accounts)


def _platform_steps(bridge: Bridge, *, target: WebhookTarget, accounts: Sequence[str]) -> list[str]:
    """Return which accounts were subscribed to, and what has to be done at the platform before events come."""
    lines = [
        _("Account %(account)s: the app is subscribed to the events of its numbers.") % {"account": each}
        for each in accounts
    ]
    if not accounts:
        lines = [
            _(
                "No events come before the app is subscribed to the business account: run manage.py setup_bridge "
                "--bridge %(slug)s --account followed by the account's id (WABA)."
            )
            % {"slug": bridge.slug}
        ]
    token = _("the last part of this address")
    if bridge.verify_token:
        token = "WHATSAPP_VERIFY_TOKEN" if bridge.slug == Bridge.DEFAULT else _("the one of this bridge")
    values = {"url": target.url, "token": token, "fields": ", ".join(adapter_for(bridge).webhook_fields)}
    by_hand = _(
        "To be done by hand in Meta's console, under Webhooks, and not checked here: the callback URL %(url)s, the "
        "verify token (%(token)s), and a subscription to the fields %(fields)s. Without it no events come."
    )
    return [*lines, by_hand % values]


def bridge_health(bridge: Bridge) -> Health:
    try:
        return call_bridge(bridge, adapter_for(bridge).health())
    except BridgeError:  # not even a request could be made
        return Health(is_healthy=False)


@cache
def _adapter(kind: str, config: BridgeConfig) -> BridgeAdapter:
    return ADAPTERS[kind](config)


@cache
def _transport(adapter: BridgeAdapter) -> HttpTransport:
    """One a process and adapter, so that its connections are shared."""
    return HttpTransport(adapter)
