"""Show or change the instructions of the agent profile."""

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from pydantic import Field

from accounts.models import User
from commands.registry import Arguments, By, Call, Result, chat_command
from sessions_app import profiles
from sessions_app.models import AgentProfile, WhatsAppSession


class PersonaArguments(Arguments):
    instructions: str = Field(
        default="",
        max_length=4000,
        description=gettext_noop("How the assistant should be from now on; empty shows how it is."),
    )


@chat_command(
    "persona",
    gettext_noop("Show or change who the assistant is."),
    allowed={By.OWNER, By.ADMIN},
    aliases=("profile", "perfil", "instructions"),
    examples=("/persona You sell bicycles and answer in Portuguese.",),
)
def persona(call: Call, arguments: PersonaArguments) -> Result:
    profile = call.conversation.session.agent_profile
    heading = _("%(name)s is:") % {"name": profile.name}
    if arguments.instructions:
        profile = _change(call.conversation.session, instructions=arguments.instructions, by=call.caller.user)
        heading = _("From now on %(name)s is:") % {"name": profile.name}
    return Result(
        f"{heading}\n{profile.instructions}",
        {
            "agent_profile": str(profile.pk),
            "name": profile.name,
            "instructions": profile.instructions,
            "version": profile.version,
        },
    )


@transaction.atomic
def _change(session: WhatsAppSession, *, instructions: str, by: User | None) -> AgentProfile:
    """Change the profile; a shared or default one is copied for this session first."""
    profile = AgentProfile.objects.select_for_update().get(pk=session.agent_profile_id)
    if not profile.is_default and not profile.sessions.exclude(pk=session.pk).exists():
        return profiles.change_profile(profile=profile, by=by, instructions=instructions)
    values = {name: getattr(profile, name) for name in profiles.VERSIONED} | {"instructions": instructions}
    own = profiles.create_profile(by=by, name=_free_name(f"{profile.name[:40]} of {session.name[:35]}"), **values)
    WhatsAppSession.objects.filter(pk=session.pk).update(agent_profile=own)
    return own


def _free_name(name: str) -> str:
    is_taken = AgentProfile.objects.live().filter(name=name).exists()
    return f"{name} {timezone.now():%Y%m%d%H%M%S}" if is_taken else name
