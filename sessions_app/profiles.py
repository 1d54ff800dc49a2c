"""Create and change agent profiles. Each change is stored as a version that can be restored."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import ProtectedError

from accounts.models import User
from sessions_app.models import AgentProfile, AgentProfileVersion
from whatsapp_agent.callback import Callback
from whatsapp_agent.errors import Conflict, NotFound

# The fields that a version stores. Rolling back to a version leaves `name` and `is_default` as they are.
VERSIONED = (
    "purpose",
    "instructions",
    "model",
    "temperature",
    "history_tokens",
    "max_output_tokens",
    "debounce_s",
    "debounce_max_s",
    "max_answer_age_s",
    "takeover_s",
    "loop_repeats",
    "loop_fast_replies",
    "loop_max_turns",
    "loop_window_s",
    "loop_pause_s",
    "answers_groups",
    "marks_read",
    "shows_typing",
    "fallback_text",
    "voice_fallback_text",
    "missed_call_text",
    "tools",
)


class ProfileTool(NamedTuple):
    """A tool that a profile may list by its name or one of its aliases."""

    name: str
    description: str
    aliases: Sequence[str]


# Return all tools: the commands that a model may call. Set by `commands.registry`.
list_tools = Callback[[], Sequence[ProfileTool]](default=lambda: ())


def find_tool(name_or_alias: str) -> str | None:
    """Return the tool's name; None if there is no such tool."""
    return next((tool.name for tool in list_tools() if name_or_alias in (tool.name, *tool.aliases)), None)


PROFILES_LOCK_KEY = 7_306_915  # of an advisory lock; no other lock here may use this number


def _lock_profiles() -> None:
    """Serialize changes of profiles until the transaction ends: two at once could both find a name free."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PROFILES_LOCK_KEY])


def save_version(profile: AgentProfile, *, by: User | None = None) -> AgentProfileVersion:
    """Store the profile's values under its version number. Does nothing if that version is stored already."""
    version, _ = AgentProfileVersion.objects.get_or_create(
        profile=profile,
        version=profile.version,
        defaults={"values": {name: getattr(profile, name) for name in VERSIONED}, "changed_by": by},
    )
    return version


@transaction.atomic
def create_profile(*, by: User | None = None, **values: Any) -> AgentProfile:
    """Create a profile and its first version. Raises Conflict if the name is taken."""
    _lock_profiles()
    _check_name(values)
    if values.get("is_default"):
        AgentProfile.objects.filter(is_default=True).update(is_default=False)
    profile = AgentProfile.objects.create(**values)
    save_version(profile, by=by)
    return profile


@transaction.atomic
def change_profile(*, profile: AgentProfile, by: User | None = None, **changes: Any) -> AgentProfile:
    """Change a profile and store the new version. Raises Conflict if the name is taken or no default would be left."""
    _lock_profiles()
    profile = AgentProfile.objects.select_for_update().get(pk=profile.pk)
    changes = {name: value for name, value in changes.items() if getattr(profile, name) != value}
    if not changes:
        return profile
    _check_name(changes)
    if changes.get("is_default") is False:
        raise Conflict("There must be a default profile. Make another profile the default instead.", field="is_default")
    if changes.get("is_default"):
        AgentProfile.objects.filter(is_default=True).update(is_default=False)
    save_version(profile)  # a profile may have no stored version yet
    for name, value in changes.items():
        setattr(profile, name, value)
    if changes.keys() & set(VERSIONED):
        profile.version += 1
    profile.save()
    save_version(profile, by=by)
    return profile


def _check_name(values: dict[str, Any]) -> None:
    if "name" in values and AgentProfile.objects.filter(name=values["name"]).exists():
        raise Conflict("A profile with this name exists already.", field="name")


def roll_back(*, profile: AgentProfile, version: int, by: User | None = None) -> AgentProfile:
    """Restore the values of an old version, as a new version. Raises NotFound if there is no such version."""
    old = AgentProfileVersion.objects.filter(profile=profile, version=version).first()
    if old is None:
        raise NotFound(f"This profile has no version {version}.", field="version")
    return change_profile(
        profile=profile, by=by, **{name: value for name, value in old.values.items() if name in VERSIONED}
    )


def delete_profile(profile: AgentProfile) -> None:
    """Delete a profile. Raises Conflict if it is the default or a session uses it."""
    if profile.is_default:
        raise Conflict("The default profile cannot be deleted. Make another profile the default first.")
    try:
        profile.delete()
    except ProtectedError as exc:
        raise Conflict("Sessions use this profile. Give them another profile first.") from exc
