"""Find sessions by the names that operators type, and create users who may see them."""

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from accounts.models import Role, User
from accounts.services import create_user
from sessions_app.models import Membership, WhatsAppSession
from whatsapp_agent.errors import InvalidInput, NotFound


def find_session(text: str) -> WhatsAppSession:
    """Return the session with this name, `BRIDGE/NAME` or id. Raises NotFound, or InvalidInput for two."""
    text = text.strip()
    sessions = WhatsAppSession.objects.select_related("bridge")
    try:
        found = list(sessions.filter(pk=UUID(text)))
    except ValueError:
        bridge, _, name = text.rpartition("/")
        found = list(sessions.filter(name=name, **({"bridge__slug": bridge} if bridge else {})))
    if not found:
        known = ", ".join(WhatsAppSession.objects.order_by("name").values_list("name", flat=True)[:10])
        raise NotFound(f"There is no session {text!r}. " + (f"Sessions: {known}." if known else "There are none yet."))
    if len(found) > 1:
        names = ", ".join(sorted(f"{each.bridge.slug}/{each.name}" for each in found))
        raise InvalidInput(f"More than one bridge has a session {text!r}. Write one of: {names}.")
    return found[0]


@transaction.atomic
def create_member(
    *,
    username: str,
    password: str,
    role: Role,
    sessions: Sequence[WhatsAppSession] = (),
    email: str = "",
    is_staff: bool = True,
) -> User:
    """Create a user who is a member of these sessions. Raises what `create_user` raises."""
    user = create_user(username=username, password=password, role=role, email=email, is_staff=is_staff)
    Membership.objects.bulk_create(
        Membership(session=session, user=user) for session in {each.pk: each for each in sessions}.values()
    )
    return user
