"""Commands about facts: list, remember, correct, forget."""

from uuid import UUID

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from pydantic import Field

from commands.library.basics import NoArguments
from commands.registry import READERS, Arguments, By, Call, Result, chat_command
from messaging.history import facts
from messaging.models import Fact
from whatsapp_agent.errors import InvalidInput, NotFound

SOURCE = {
    By.CONTACT: Fact.Source.CONTACT,
    By.MODEL: Fact.Source.MODEL,
    By.OWNER: Fact.Source.OWNER,
    By.STAFF: Fact.Source.STAFF,
    By.ADMIN: Fact.Source.STAFF,
}
ALL_WORDS = {"all", "everything", "tudo", "todo", "alles", "tout"}


@chat_command(
    "facts",
    gettext_noop("Show what is remembered about you."),
    allowed=READERS,
    aliases=("memory", "fatos", "datos"),
    tool="list_facts",
    tool_description="List the facts remembered about this contact, with their ids.",
    reads_only=True,
)
def show_facts(call: Call, arguments: NoArguments) -> Result:  # noqa: ARG001
    known = facts.facts_about(call.conversation.contact)
    lines = "\n".join(f"{number}. {fact.text}" for number, fact in enumerate(known, 1))
    return Result(lines or _("Nothing is remembered yet."), {"facts": [_as_data(call, fact) for fact in known]})


class RememberArguments(Arguments):
    fact: str = Field(
        min_length=1,
        max_length=facts.MAX_FACT_CHARS,
        description=gettext_noop("One short sentence that will stay true."),
    )
    corrects: str = Field(
        default="",
        max_length=100,
        description=gettext_noop("What this takes the place of: an id from list_facts, or its number."),
    )


@chat_command(
    "remember",
    gettext_noop("Remember something about you."),
    allowed=READERS,
    aliases=("lembrar", "recordar", "note"),
    tool_description=(
        "Remember a lasting fact about this contact, such as a name, a preference or an agreement: one short sentence. "
        "Not what only matters today, and nothing the contact did not say."
    ),
    examples=("/remember I am vegetarian",),
)
def remember(call: Call, arguments: RememberArguments) -> Result:
    contact = call.conversation.contact
    fact = facts.remember(
        contact=contact,
        text=arguments.fact,
        proposed_by=SOURCE[call.caller.by],
        message=call.message if call.message and call.message.conversation_id == call.conversation.pk else None,
        by=call.caller.user,
        corrects=_find_fact(call, arguments.corrects) if arguments.corrects else None,
    )
    return Result(_("I will remember: %(fact)s") % {"fact": fact.text}, {"fact": _as_data(call, fact)})


class ForgetArguments(Arguments):
    fact: str = Field(
        min_length=1,
        max_length=100,
        description=gettext_noop("Which: its number or id in the list, some of its words, or `all`."),
    )


@chat_command(
    "forget",
    gettext_noop("Forget something remembered about you."),
    allowed=READERS,
    aliases=("esquecer", "olvidar", "unremember"),
    tool="forget_fact",
    tool_description="Forget a fact about this contact that is wrong, or that they want forgotten.",
    examples=("/forget 2", "/forget all"),
)
def forget(call: Call, arguments: ForgetArguments) -> Result:
    contact = call.conversation.contact
    if arguments.fact.casefold() in ALL_WORDS:
        count = facts.forget_all(contact=contact)
        return Result(_("Forgotten: %(count)s facts.") % {"count": count}, {"forgotten": count})
    fact = _find_fact(call, arguments.fact)
    facts.forget(contact=contact, fact_id=fact.pk)
    return Result(_("Forgotten: %(fact)s") % {"fact": fact.text}, {"forgotten": 1, "fact": _as_data(call, fact)})


def _find_fact(call: Call, which: str) -> Fact:
    """Return a fact of this contact by number, id or words. Raises NotFound, or InvalidInput when several fit."""
    known = facts.facts_about(call.conversation.contact)
    if which.isascii() and which.isdigit() and 1 <= int(which) <= len(known):
        return known[int(which) - 1]
    try:
        wanted = UUID(which)
    except ValueError:
        found = [fact for fact in known if which.casefold() in fact.text.casefold()]
    else:
        found = [fact for fact in known if fact.pk == wanted]
    if not found:
        raise NotFound(_("No such fact. Send /facts for the list."))
    if len(found) > 1:
        raise InvalidInput(_("Several facts fit; name one by its number in /facts."))
    return found[0]


def _as_data(call: Call, fact: Fact) -> dict[str, str | None]:
    return {
        "id": str(fact.pk),
        "text": fact.text,
        "proposed_by": fact.proposed_by,
        "message": str(fact.message_id) if fact.message_id else None,
        "created_at": call.data_time(fact.created_at),
    }
