"""Create and change agent profiles. Each change is stored as a version that can be restored."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import OuterRef, ProtectedError, QuerySet, Subquery
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from sessions_app.models import AgentProfile, AgentProfileVersion, WhatsAppSession
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
    "marks_read",
    "shows_typing",
    "instant_reaction",
    "answers_with_voice",
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


def lock_profiles() -> None:
    """Serialize changes of profiles until the transaction ends: two at once could both find a name free."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PROFILES_LOCK_KEY])


class FieldChange(NamedTuple):
    """A field whose value differs between two versions."""

    name: str
    before: Any
    after: Any


def compare(before: dict[str, Any], after: dict[str, Any]) -> list[FieldChange]:
    """Return how the values of one version differ from those of another, in the order of VERSIONED."""
    return [
        FieldChange(name, before.get(name), after.get(name))
        for name in VERSIONED
        if before.get(name) != after.get(name) and (name in before or name in after)
    ]


def values_of(profile: AgentProfile) -> dict[str, Any]:
    """Return the values that a version stores."""
    return {name: getattr(profile, name) for name in VERSIONED}


def save_version(profile: AgentProfile, *, by: User | None = None, message: str = "") -> AgentProfileVersion:
    """Store the profile's values under its version number. Does nothing if that version is stored already."""
    version, _ = AgentProfileVersion.objects.get_or_create(
        profile=profile,
        version=profile.version,
        defaults={"values": values_of(profile), "changed_by": by, "message": message},
    )
    return version


def with_values_before(versions: QuerySet[AgentProfileVersion]) -> QuerySet[AgentProfileVersion]:
    """Add to each version, as `values_before`, the values of the one before it; None for the first."""
    before = AgentProfileVersion.objects.filter(profile=OuterRef("profile"), version=OuterRef("version") - 1)
    return versions.annotate(values_before=Subquery(before.values("values")[:1]))


@transaction.atomic
def create_profile(*, by: User | None = None, **values: Any) -> AgentProfile:
    """Create a profile and its first version. Raises Conflict if the name is taken."""
    lock_profiles()
    _check_name(values)
    if values.get("is_default"):
        AgentProfile.objects.filter(is_default=True).update(is_default=False)
    profile = AgentProfile.objects.create(**values)
    save_version(profile, by=by)
    return profile


@transaction.atomic
def change_profile(*, profile: AgentProfile, by: User | None = None, message: str = "", **changes: Any) -> AgentProfile:
    """Change a profile and store the new version, with a message that says why.

    A draft of the profile gets the changes of the fields that it leaves as they are. Raises Conflict if the name is
    taken or no default would be left.
    """
    lock_profiles()
    profile = AgentProfile.objects.select_for_update().get(pk=profile.pk)
    changes = {name: value for name, value in changes.items() if getattr(profile, name) != value}
    if not changes:
        return profile
    if profile.draft_of_id is None:
        _check_name(changes)
    if changes.get("is_default") is False:
        raise Conflict(
            _("There must be a default profile. Make another profile the default instead."), field="is_default"
        )
    if changes.get("is_default"):
        AgentProfile.objects.filter(is_default=True).update(is_default=False)
    save_version(profile)  # a profile may have no stored version yet
    before = {name: getattr(profile, name) for name in changes}
    for name, value in changes.items():
        setattr(profile, name, value)
    if changes.keys() & set(VERSIONED):
        profile.version += 1
    profile.save()
    save_version(profile, by=by, message=message)
    _follow(profile, before=before, changes=changes, by=by)
    return profile


def _follow(profile: AgentProfile, *, before: dict[str, Any], changes: dict[str, Any], by: User | None) -> None:
    """Change the draft of a profile as the profile itself, in the fields that the draft did not change."""
    draft = AgentProfile.objects.filter(draft_of=profile).first()
    if draft is None:
        return
    shared = {
        name: value for name, value in changes.items() if name in VERSIONED and getattr(draft, name) == before[name]
    }
    if "name" in changes:
        shared["name"] = changes["name"]
    change_profile(profile=draft, by=by, **shared)


def _check_name(values: dict[str, Any]) -> None:
    if "name" in values and AgentProfile.objects.live().filter(name=values["name"]).exists():
        raise Conflict(_("A profile with this name exists already."), field="name")


@transaction.atomic
def roll_back(
    *,
    profile: AgentProfile,
    version: int,
    by: User | None = None,
    message: str = "",
    live_version: int | None = None,
) -> AgentProfile:
    """Restore the values of an old version, as a new version.

    Raises NotFound if there is no such version, and Conflict if another one is live than the caller has seen.
    """
    lock_profiles()
    profile.refresh_from_db()
    if live_version not in {None, profile.version}:
        raise Conflict(_("The profile was changed meanwhile. Look at its versions, then restore one."))
    old = AgentProfileVersion.objects.filter(profile=profile, version=version).first()
    if old is None:
        raise NotFound(_("This profile has no version %(version)s.") % {"version": version}, field="version")
    values = {name: value for name, value in old.values.items() if name in VERSIONED}
    return change_profile(profile=profile, by=by, message=message or f"Version {version} again", **values)


def delete_profile(profile: AgentProfile) -> None:
    """Delete a profile. Raises Conflict if it is the default or a session uses it."""
    if profile.is_default:
        raise Conflict(_("The default profile cannot be deleted. Make another profile the default first."))
    try:
        with transaction.atomic():
            _end_test_sessions(profile)
            profile.delete()
    except ProtectedError as exc:
        raise Conflict(_("Numbers use this profile. Give them another profile first.")) from exc


def _end_test_sessions(profile: AgentProfile) -> None:
    """End the sessions in which a draft of the profile is tested; their conversations stay."""
    default = AgentProfile.objects.filter(is_default=True).first()
    if default is not None:
        sessions = WhatsAppSession.objects.filter(agent_profile__draft_of=profile)
        sessions.update(agent_profile=default, ended_at=timezone.now(), status=WhatsAppSession.Status.LOGGED_OUT)
