"""Drafts of agent profiles: what is saved is tried first, and answers contacts only once it is published.

A draft is a row like the profile itself, so that a session of the simulator can use it as it will be used: the same
checks, the same versions. It has the values of its profile where it does not differ, and no name of its own.
"""

from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from sessions_app.models import AgentProfile, AgentProfileVersion
from sessions_app.profiles import FieldChange, change_profile, compare, lock_profiles, save_version, values_of
from whatsapp_agent.errors import Conflict


class NothingToPublish(Conflict):
    code, detail = "nothing_to_publish", gettext_lazy("There is no draft that differs from what is live.")


def load_draft(profile: AgentProfile) -> AgentProfile | None:
    """Return the draft, also one that does not differ; None before the first one."""
    return AgentProfile.objects.filter(draft_of=profile).first()


def changes_of(profile: AgentProfile, draft: AgentProfile | None) -> list[FieldChange]:
    """Return how the draft differs from what is live."""
    return compare(values_of(profile), values_of(draft)) if draft else []


def last_change(draft: AgentProfile) -> AgentProfileVersion | None:
    """Return who changed the draft last, and when."""
    return draft.versions.select_related("changed_by").order_by("-version").first()


@transaction.atomic
def ensure_draft(profile: AgentProfile) -> AgentProfile:
    """Return the draft of a profile; create it with the profile's values."""
    lock_profiles()  # of two at once, one creates it
    if (draft := load_draft(profile)) is not None:
        return draft
    draft = AgentProfile(draft_of=profile, name=profile.name, has_knowledge=profile.has_knowledge, **values_of(profile))
    draft.save()
    save_version(draft)
    return draft


@transaction.atomic
def save_draft(*, profile: AgentProfile, by: User | None = None, **values: Any) -> AgentProfile:
    """Change the draft of a profile; what is live stays as it is."""
    return change_profile(profile=ensure_draft(profile), by=by, **values)


@transaction.atomic
def discard_draft(*, profile: AgentProfile, by: User | None = None, draft_version: int | None = None) -> None:
    """Give the draft the values of what is live. Raises Conflict if it has another version than the caller has seen."""
    lock_profiles()
    if (draft := load_draft(profile)) is not None:
        if draft_version not in {None, draft.version}:
            raise Conflict(_("The draft was changed meanwhile. Review it, then discard it."))
        profile.refresh_from_db()
        change_profile(profile=draft, by=by, **values_of(profile))


@transaction.atomic
def publish_draft(
    *, profile: AgentProfile, by: User | None = None, message: str = "", draft_version: int | None = None
) -> AgentProfile:
    """Make the draft live, as a new version of the profile.

    Raises NothingToPublish, and Conflict if the draft has another version than the one that the caller has seen.
    """
    lock_profiles()
    profile.refresh_from_db()
    draft = load_draft(profile)
    if draft is None or not changes_of(profile, draft):
        raise NothingToPublish()
    if draft_version not in {None, draft.version}:
        raise Conflict(_("The draft was changed meanwhile. Review it, then publish it."))
    return change_profile(profile=profile, by=by, message=message, **values_of(draft))
