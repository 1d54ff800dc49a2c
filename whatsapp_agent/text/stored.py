"""Texts that the program writes in English where it knows no reader (a note, an error, a bridge's reason)."""

import re
from functools import cache

from django.utils.translation import gettext, gettext_noop

# Texts with something filled in, and those of modules that do not know Django.
PATTERNS = (
    gettext_noop("taken over by %(name)s"),
    gettext_noop("released by %(name)s"),
    gettext_noop("muted by %(name)s"),
    gettext_noop("disabled by %(name)s"),
    gettext_noop("handed off by the agent: %(reason)s"),
    gettext_noop("a person was requested: %(reason)s"),
    gettext_noop("loop: %(reason)s"),
    gettext_noop("nearly the same text %(count)s times"),
    gettext_noop("%(count)s messages in a row at a machine's pace"),
    gettext_noop("%(count)s answers within %(seconds)s seconds"),
    gettext_noop("The agent was paused: the other side seems to be a machine (%(reason)s)."),
    gettext_noop("The model refuses its key, its name or the account (%(code)s); it is asked again for an hour."),
    gettext_noop("A message was not sent: %(code)s."),
    gettext_noop("WhatsApp delivers nothing from this number at present: %(error)s"),
    gettext_noop("The endpoint accepted nothing for %(days)s days."),
    gettext_noop("Not answered for %(minutes)s minutes: assigned to nobody again."),
    # The note of `commands.library.handover` for who takes over.
    gettext_noop("%(contact)s asks for a person."),
    gettext_noop("Latest messages: there are no messages yet"),
    gettext_noop("Latest messages: %(messages)s"),
    # What an adapter in `agent.bridges` cannot do.
    gettext_noop("This bridge cannot write to groups."),
    gettext_noop("This bridge cannot write to someone whose phone number is hidden."),
    gettext_noop("This bridge cannot send files."),
    gettext_noop("The Cloud API does not know this address: it belongs to a linked phone."),
    gettext_noop("The Cloud API sends a file of kind %(kind)s only as %(types)s."),
    gettext_noop("The Cloud API takes at most %(limit)s KiB for a file of kind %(kind)s."),
    gettext_noop("zapw sends only images (JPEG, PNG), videos (MP4), audio (Ogg) and documents (PDF)."),
    # Why a call to a bridge failed, from `agent.bridges`.
    gettext_noop("%(bridge)s cannot be reached."),
    gettext_noop("%(bridge)s did not answer in time."),
    gettext_noop("%(bridge)s broke off without an answer."),
    gettext_noop("The answer of %(bridge)s did not end."),
    gettext_noop("%(bridge)s answered in an unknown format."),
    gettext_noop("%(bridge)s described a session in an unknown format."),
    gettext_noop("The bridge's address cannot be used."),
    gettext_noop("The bridge's address or key cannot be used."),
    gettext_noop("This cannot be the name of a session."),
    gettext_noop("The name of this session has to be a phone_number_id."),
    gettext_noop("Meta knows no number with this id, or the token may not use it."),
    gettext_noop("zapw could not reach WhatsApp: the session closed at once."),
    gettext_noop("%(bridge)s refuses our API key."),
    gettext_noop("%(bridge)s refuses our token."),
    gettext_noop("%(bridge)s asks us to slow down."),
    gettext_noop("%(bridge)s says that the request is not valid."),
    gettext_noop("%(bridge)s answered with status %(code)s."),
    gettext_noop("%(bridge)s does not know this session."),
    gettext_noop("%(bridge)s does not know this instance."),
    gettext_noop("%(bridge)s has a session of this name."),
    gettext_noop("%(bridge)s has an instance of this name."),
    gettext_noop("%(bridge)s holds a linked number under this name."),
    gettext_noop("%(bridge)s has no pairing code yet: ask again in a moment."),
    gettext_noop("%(bridge)s listed its sessions in an unknown format."),
    gettext_noop("%(bridge)s reports a failure."),
    gettext_noop("%(bridge)s reports an error after which the message may have been sent."),
    gettext_noop("%(bridge)s took the message without naming its id."),
    gettext_noop("%(bridge)s took the file without naming its id."),
    gettext_noop("%(bridge)s could not fetch this file."),
    gettext_noop("%(bridge)s no longer has this file."),
    gettext_noop("%(bridge)s gave the file in an unknown format."),
    gettext_noop("%(bridge)s gave the file's address in an unknown format."),
    gettext_noop("%(bridge)s takes at most %(limit)s KiB at once."),
    gettext_noop("%(bridge)s can only write to a person's phone number."),
    gettext_noop("This bridge can only write to a person's phone number."),
    gettext_noop(
        "zapw takes files of more than %(limit)s KiB only by fetching them from us: set PUBLIC_URL to where it can "
        "reach this server."
    ),
    gettext_noop("The file lies at an address that is not Meta's."),
    gettext_noop("The file came damaged."),
    gettext_noop("The file is larger than %(limit)s KiB."),
    gettext_noop("Nobody can be written to there."),
    gettext_noop("There is no text to send."),
    gettext_noop("This is no address."),
    gettext_noop("The number is not connected."),
    gettext_noop("This number is not on WhatsApp."),
    gettext_noop("WhatsApp limits whom this account may write to, for some time."),
    gettext_noop("%(bridge)s cannot %(what)s."),
    gettext_noop("send files"),
    gettext_noop("send locations"),
    gettext_noop("send contacts"),
    gettext_noop("send templates"),
    gettext_noop("list templates"),
    gettext_noop("send buttons"),
    gettext_noop("send buttons and lists"),
    gettext_noop("send polls"),
    gettext_noop("edit messages"),
    gettext_noop("delete messages"),
    gettext_noop("react to messages"),
    gettext_noop("show typing"),
    gettext_noop("mark messages as read"),
    gettext_noop("hand over received files"),
    gettext_noop("look numbers up"),
    gettext_noop("tell the phones of hidden numbers"),
    gettext_noop("subscribe to the events of an account"),
    gettext_noop("list the numbers of an account"),
    gettext_noop("list its numbers"),
    gettext_noop("restart the session %(name)s"),
    gettext_noop("log the session %(name)s out"),
    gettext_noop("link by a pairing code"),
    gettext_noop("configure a webhook address by a call"),
    # Why a template cannot be sent, as its adapter finds it.
    gettext_noop("it has parts of a kind that is not known here."),
    gettext_noop("its header is of a kind that is not known here."),
    gettext_noop("one of its buttons is of a kind that is not known here."),
    gettext_noop("one of its buttons opens a form (a flow)."),
    gettext_noop("one of its buttons opens a catalogue."),
    gettext_noop("it is a carousel."),
    # What a model does not take, as `agent.llm.capabilities` describes it.
    gettext_noop("takes no tools"),
    gettext_noop("takes no temperature"),
    gettext_noop("takes no system message; the instructions are sent in the first user message"),
    gettext_noop("wants user and assistant messages to alternate"),
    gettext_noop("takes no null content beside tool calls"),
    gettext_noop("takes back no fields of its own, such as reasoning"),
    gettext_noop("takes tools only without reasoning"),
    gettext_noop("takes no images; they are described in text"),
    gettext_noop("returns no encrypted reasoning"),
    gettext_noop("calls the limit of an answer %(name)s"),
    gettext_noop("takes no limit of an answer"),
    gettext_noop("takes no prompt of more than about %(count)s tokens, by a rough estimate"),
    gettext_noop("takes a prompt that was too long before"),
    # What the admin logs.
    gettext_noop("Restored version %(version)s; it is live."),
    gettext_noop("Published as version %(version)s."),
    gettext_noop("Inbox: %(action)s."),
    gettext_noop("Control: %(control)s."),
    gettext_noop("Imported a chat: %(new)s messages, %(changed)s changed, %(files)s files."),
    # Alerts, as `agent.monitoring.alert_rules` finds them.
    gettext_noop("It is %(status)s since %(time)s."),
    gettext_noop("%(failed)s of %(total)s turns of the last 15 minutes failed."),
    gettext_noop("%(count)s messages of the last 15 minutes were not sent, or may not have been."),
    gettext_noop("%(count)s conversations wait for an answer, the first since %(time)s."),
    gettext_noop("%(percent)s%% of the disk of DATA_DIR is free."),
    gettext_noop("Meta accepts answers and does not deliver them: %(time)s."),
    gettext_noop("WhatsApp limits its account: %(kinds)s."),
    gettext_noop("The bridge (%(kind)s) does not answer as it should."),
    gettext_noop("It expires at %(time)s."),
    gettext_noop("It has expired at %(time)s."),
)


def translate_stored(text: str) -> str:
    """Translate a stored text, line by line. What is in no catalogue, like a bridge's error, stays as it is.

    A text is marked where it is stored, with `gettext_noop`, or listed above. It must not be translated there: whoever
    reads it may have another language.
    """
    return "\n".join(_translate_line(line) for line in text.splitlines())


def _translate_line(line: str) -> str:
    for pattern, expression in _expressions():
        if match := expression.fullmatch(line):
            return gettext(pattern) % {
                name: _translate_line(value) if name in {"reason", "status", "what"} else value
                for name, value in match.groupdict().items()
            }
    return gettext(line) if line else ""


@cache
def _expressions() -> list[tuple[str, re.Pattern[str]]]:
    return [
        (
            pattern,
            re.compile(re.sub(r"%\\\((\w+)\\\)s", r"(?P<\1>.+)", re.escape(pattern).replace("%%", "%"))),
        )
        for pattern in PATTERNS
    ]
