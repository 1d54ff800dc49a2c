"""Admin pages of bridges, sessions, agent profiles, models and API keys. Importing a module registers its pages."""

from sessions_app.admin import agent_profiles, api_keys, bridges, model_limits, sessions, users
from sessions_app.admin.scoped import SessionScopedAdmin, VisibleProfilesFilter, VisibleSessionsFilter

__all__ = [
    "SessionScopedAdmin",
    "VisibleProfilesFilter",
    "VisibleSessionsFilter",
    "agent_profiles",
    "api_keys",
    "bridges",
    "model_limits",
    "sessions",
    "users",
]
