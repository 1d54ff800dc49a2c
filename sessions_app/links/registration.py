"""Put numbers on a platform that knows them by a PIN: the Cloud API."""

import re

from django.utils.translation import gettext as _

from agent.bridges.capabilities import Capability
from agent.bridges.exchange import BridgeError
from sessions_app.bridges import adapter_for, call_bridge
from sessions_app.models import WhatsAppSession
from sessions_app.services import refresh_session
from whatsapp_agent import postgres
from whatsapp_agent.errors import BridgeFailed, Conflict, InvalidInput, NotSupportedByBridge

PIN = re.compile(r"[0-9]{6}")


def register_number(session: WhatsAppSession, *, pin: str) -> WhatsAppSession:
    """Put a number on the platform with its PIN, which is neither stored nor logged, and record how it stands then.

    Raises NotSupportedByBridge, InvalidInput, Conflict if the number has ended, or BridgeFailed.
    """
    adapter = adapter_for(session.bridge)
    if not PIN.fullmatch(pin):
        raise InvalidInput(_("The PIN has six digits."), field="pin")
    if Capability.REGISTER not in adapter.capabilities:
        raise NotSupportedByBridge(_("The bridge %(slug)s registers no numbers.") % {"slug": session.bridge.slug})
    if session.ended_at is not None:
        raise Conflict(_("Connect the number again first."))
    postgres.release()
    try:
        call_bridge(session.bridge, adapter.register_session(name=session.name, pin=pin))
    except BridgeError as exc:
        raise BridgeFailed(str(exc)) from exc
    WhatsAppSession.objects.filter(pk=session.pk).link_anew()
    return refresh_session(session)
