"""Why a number is not connected, in staff's words."""

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from whatsapp_agent.text.stored import translate_stored

REASONS = {
    "passkey_required": gettext_lazy("WhatsApp demands a passkey of this account"),
    "passkey_confirmation": gettext_lazy("WhatsApp waits for the passkey to be confirmed on the phone"),
    # The states of a number at Meta.
    "banned": gettext_lazy("Meta has banned this number"),
    "flagged": gettext_lazy("Meta has flagged this number for its quality"),
    "restricted": gettext_lazy("Meta has restricted this number"),
    "offline": gettext_lazy("this number is offline at Meta"),
    "pending": gettext_lazy("this number is not registered at Meta yet"),
    "disconnected": gettext_lazy("this number is not registered at Meta"),
    "unverified": gettext_lazy("this number is not verified at Meta"),
    "deleted": gettext_lazy("this number was deleted at Meta"),
    "migrated": gettext_lazy("this number has moved to another business account"),
    "rate_limited": gettext_lazy("this number has sent too much; Meta holds it back"),
    # The disconnect codes of Baileys, which bridges built upon it pass on.
    "401": gettext_lazy("logged out on the phone, or by WhatsApp"),
    "403": gettext_lazy("WhatsApp has forbidden it"),
    "408": gettext_lazy("the connection to WhatsApp was lost"),
    "411": gettext_lazy("the phone does not allow linked devices"),
    "428": gettext_lazy("WhatsApp closed the connection"),
    "440": gettext_lazy("replaced: the same link is in use elsewhere"),
    "500": gettext_lazy("the link is damaged: link the number again"),
    "503": gettext_lazy("WhatsApp cannot be reached at present"),
    "515": gettext_lazy("WhatsApp asked for a restart"),
}


def describe_reason(reason: str) -> str:
    """Return a reason with its code, if it has one: `logged out on the phone, or by WhatsApp (401)`."""
    words = REASONS.get(reason)
    return _("%(reason)s (%(code)s)") % {"reason": words, "code": reason} if words else translate_stored(reason)
