"""Bridges, WhatsApp sessions and agent profiles."""

from sessions_app.models.bridges import Bridge, bridge_kinds
from sessions_app.models.profiles import (
    DEFAULT_FALLBACK_TEXT,
    DEFAULT_INSTRUCTIONS,
    DEFAULT_TOOLS,
    DEFAULT_VOICE_FALLBACK_TEXT,
    AgentProfile,
    AgentProfileQuerySet,
    AgentProfileVersion,
    ModelLimit,
    default_debounce_max_s,
    default_debounce_s,
    default_tools,
    validate_loop_limit,
)
from sessions_app.models.sessions import (
    ForgottenAddress,
    FormerName,
    Membership,
    WhatsAppSession,
    WhatsAppSessionQuerySet,
    within_sessions_of,
)
from whatsapp_agent.text.validators import validate_emoji, validate_time_zone  # as migrations name them

__all__ = [
    "DEFAULT_FALLBACK_TEXT",
    "DEFAULT_INSTRUCTIONS",
    "DEFAULT_TOOLS",
    "DEFAULT_VOICE_FALLBACK_TEXT",
    "AgentProfile",
    "AgentProfileQuerySet",
    "AgentProfileVersion",
    "Bridge",
    "ForgottenAddress",
    "FormerName",
    "Membership",
    "ModelLimit",
    "WhatsAppSession",
    "WhatsAppSessionQuerySet",
    "bridge_kinds",
    "default_debounce_max_s",
    "default_debounce_s",
    "default_tools",
    "validate_emoji",
    "validate_loop_limit",
    "validate_time_zone",
    "within_sessions_of",
]
