"""Send a file of the profile's library."""

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from pydantic import Field

from agent.llm.base import ToolSpec
from commands.registry import READERS, Arguments, Call, Result, chat_command
from messaging.library import entries
from messaging.models import Conversation


class FileArguments(Arguments):
    name: str = Field(max_length=entries.MAX_NAME_LENGTH, description=gettext_noop("The name of the file."))


def offer(conversation: Conversation, spec: ToolSpec) -> ToolSpec | None:
    """Return the tool with the names of the files; None if there is nothing that can be sent here."""
    files = entries.sendable_files(conversation)
    if not files:
        return None
    lines = [f"- {row.name} ({row.kind}): {row.description or row.filename}" for row in files]
    return ToolSpec(name=spec.name, description="\n".join([spec.description, *lines]), parameters=spec.parameters)


@chat_command(
    "file",
    gettext_noop("Send a file or an image of the library."),
    allowed=READERS,
    aliases=("archivo", "arquivo", "datei", "fichier"),
    tool=entries.TOOL,
    tool_description="Send the contact one of these files, beside your answer, when it helps or is asked for. By name:",
    examples=("/file price list",),
    offer=offer,
)
def send_file(call: Call, arguments: FileArguments) -> Result:
    message = entries.send_file(conversation=call.conversation, name=arguments.name)
    text = _("The file %(name)s is on its way.") % {"name": arguments.name}
    return Result(text, {"message": str(message.pk), "sent": arguments.name})
