"""Who the assistant is, as the owner of the number wants it."""

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from pydantic import Field

from commands.registry import Arguments, By, Call, Result, chat_command
from sessions_app.models import AgentProfile, WhatsAppSession


class NewInstructions(Arguments):
    instructions: str = Field(
        default="", max_length=4000, description="How the assistant should be from now on; empty shows how it is."
    )


@chat_command(
    "persona",
    "Show or change who the assistant is.",
    allowed={By.OWNER, By.ADMIN},
    aliases=("profile", "perfil", "instructions"),
    examples=("/persona You sell bicycles and answer in Portuguese.",),
)
def persona(call: Call, arguments: NewInstructions) -> Result:
    profile = call.conversation.session.agent_profile
    if arguments.instructions:
        profile = _change(call.conversation.session, instructions=arguments.instructions)
        text = f"From now on {profile.name} is:\n{profile.instructions}"
    else:
        text = f"{profile.name} is:\n{profile.instructions}"
    return Result(
        text,
        {"name": profile.name, "instructions": profile.instructions, "version": profile.version, "id": str(profile.pk)},
    )


@transaction.atomic
def _change(session: WhatsAppSession, *, instructions: str) -> AgentProfile:
    """Other numbers may share the profile, and theirs is not this owner's to change: then this number gets its own."""
    profile = AgentProfile.objects.select_for_update().get(pk=session.agent_profile_id)
    is_shared = profile.is_default or profile.sessions.exclude(pk=session.pk).exists()
    if is_shared:
        profile.pk = None
        profile._state.adding = True
        profile.name = _free_name(f"{profile.name[:45]} of {session.name[:40]}")
        profile.is_default = False
        profile.version = 1
        profile.instructions = instructions
        profile.save()
        WhatsAppSession.objects.filter(pk=session.pk).update(agent_profile=profile)
    else:
        AgentProfile.objects.filter(pk=profile.pk).update(instructions=instructions, version=F("version") + 1)
        profile.refresh_from_db()
    return profile


def _free_name(wished: str) -> str:
    taken = AgentProfile.objects.filter(name=wished).exists()
    return f"{wished} {timezone.now():%Y%m%d%H%M%S}" if taken else wished
