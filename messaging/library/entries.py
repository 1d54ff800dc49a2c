"""What agent profiles may send: add, change and delete files, and send one in a conversation."""

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Lower
from django.utils.translation import gettext as _

from accounts.models import User
from agent.bridges.events import Kind
from messaging import control
from messaging.media.files import NewFile
from messaging.models import Conversation, LibraryFile, Media, Message
from messaging.outbound import send_media
from sessions_app import profiles
from sessions_app.bridges import adapter_for
from sessions_app.models import AgentProfile
from whatsapp_agent.errors import Conflict, InvalidInput, NotFound
from whatsapp_agent.text.sanitize import storable
from whatsapp_agent.text.single_line import single_line_error

MAX_FILES = 50  # of one profile: the model is told of each
MAX_NAME_LENGTH = 80
MAX_DESCRIPTION_LENGTH = 300
TOOL = "send_file"


def add_file(
    *, agent_profile: AgentProfile, name: str, file: NewFile, description: str = "", by: User | None = None
) -> LibraryFile:
    """Add a file. The first one turns the tool of the profile on.

    Raises InvalidInput, and Conflict for a name that is taken or too many files.
    """
    row = LibraryFile(
        agent_profile=agent_profile,
        name=_valid_name(name),
        description=_valid_description(description),
        filename=file.filename,
        mime_type=file.mime_type,
        kind=file.kind.value,
        size_bytes=file.size_bytes,
        changed_by=by,
    )
    row.file.save(file.filename, file.content, save=False)
    try:
        with transaction.atomic():
            profiles.lock_profiles()
            count = LibraryFile.objects.filter(agent_profile=agent_profile).count()
            if count >= MAX_FILES:
                raise Conflict(_("A profile may have %(limit)s files.") % {"limit": MAX_FILES})
            _save(row)
            agent_profile.refresh_from_db(fields=["tools"])
            if not count and TOOL not in agent_profile.tools:
                tools = [*agent_profile.tools, TOOL]
                profiles.change_profile(profile=agent_profile, by=by, message=f"Added {row.name}.", tools=tools)
    except BaseException:
        row.file.delete(save=False)
        raise
    return row


@transaction.atomic
def change_file(row: LibraryFile, *, by: User | None = None, **changes: str) -> LibraryFile:
    """Change name or description; the rest stays as it is stored.

    Raises InvalidInput, and Conflict for a name that is taken.
    """
    stored = LibraryFile.objects.select_for_update().filter(pk=row.pk).first()
    if stored is None:
        raise NotFound(_("Somebody else has deleted this meanwhile."))
    row = stored
    if "name" in changes:
        row.name = _valid_name(changes["name"])
    if "description" in changes:
        row.description = _valid_description(changes["description"])
    row.changed_by = by
    _save(row)
    return row


def delete_file(row: LibraryFile) -> None:
    """Delete a file. Messages that it was sent with keep it, until they are deleted themselves."""
    name = str(row.file.name)
    row.delete()
    if row.file and not Media.objects.filter(file=name).exists():
        row.file.storage.delete(name)


def sendable_files(conversation: Conversation) -> list[LibraryFile]:
    """Return the files that the agent may send here and the bridge can, by name."""
    adapter = adapter_for(conversation.session.bridge)
    return [
        row
        for row in _files_of(conversation.session.agent_profile)
        if adapter.file_denial_reason(
            kind=Kind(row.kind), mime_type=row.mime_type, size_bytes=row.size_bytes, has_url=bool(settings.PUBLIC_URL)
        )
        is None
    ]


def send_file(*, conversation: Conversation, name: str) -> Message:
    """Queue a file of the conversation's profile, as the agent's message. A takeover cancels it.

    Raises NotFound, and what `send_media` raises.
    """
    files = sendable_files(conversation)
    wanted = " ".join(name.split()).casefold()
    row = next((row for row in files if wanted in {row.name.casefold(), row.filename.casefold()}), None)
    if row is None:
        names = ", ".join(row.name for row in files)
        raise NotFound(f"There is no such file. Files: {names}." if names else "There are no files to send.")
    epoch = control.lock_conversation(conversation.pk).control_epoch
    return send_media(
        conversation=conversation,
        file=NewFile(
            content=row.file,
            kind=Kind(row.kind),
            mime_type=row.mime_type,
            filename=row.filename,
            size_bytes=row.size_bytes,
            stored_as=str(row.file.name),
        ),
        author=Message.Author.AGENT,
        control_epoch=epoch,
    )


def _files_of(profile: AgentProfile) -> QuerySet[LibraryFile]:
    """Return the files of a profile; a draft has those of the profile that it is a draft of."""
    return LibraryFile.objects.filter(agent_profile=profile.draft_of_id or profile.pk).order_by(Lower("name"))


def _save(row: LibraryFile) -> None:
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as exc:
        raise Conflict(_("A file of this profile has this name already."), field="name") from exc


def _valid_name(name: str) -> str:
    name = " ".join(storable(name).split())
    if not name:
        raise InvalidInput(_("This field may not be blank."), field="name")
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidInput(_("A name may have %(limit)s characters.") % {"limit": MAX_NAME_LENGTH}, field="name")
    if error := single_line_error(name):
        raise InvalidInput(error, field="name")
    return name


def _valid_description(description: str) -> str:
    description = " ".join(storable(description).split())
    if len(description) > MAX_DESCRIPTION_LENGTH:
        raise InvalidInput(
            _("A description may have %(limit)s characters.") % {"limit": MAX_DESCRIPTION_LENGTH},
            field="description",
        )
    return description
