"""Bridges, WhatsApp sessions, agent profiles and API keys in the admin; importing a page registers it."""

from sessions_app.admin import agent_profiles, api_keys, bridges, sessions
from sessions_app.admin.scoped import SessionScopedAdmin, VisibleSessionsFilter

__all__ = ["SessionScopedAdmin", "VisibleSessionsFilter", "agent_profiles", "api_keys", "bridges", "sessions"]
