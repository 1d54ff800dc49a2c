"""Forgetting a person leaves nothing of theirs in any table or file, and everything of others."""

import io
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse

from accounts.models import IdempotentRequest
from messaging.contacts.merging import merge_contacts
from messaging.contacts.unmerging import unmerge
from messaging.maintenance import retention
from messaging.models import Contact, Conversation, Correction, EarlyReceipt, Event, Media, Message, Summary
from messaging.people.forgetting import forget_contact, forget_requested, request_forgetting
from messaging.search.index import index_waiting
from sessions_app.drafts import load_draft, save_draft
from tests.messaging.people.conftest import AT, NAME, NUMBER, SECRET, WORDS
from whatsapp_agent.errors import Conflict
from whatsapp_agent.storage.encryption import decrypt

pytestmark = pytest.mark.django_db(transaction=True)
TRACES = re.compile(
    "|".join(map(re.escape, (WORDS, NAME, NUMBER, "97777-6666", "pelargonium", "zuleika", "quintanilha"))),
    re.IGNORECASE,
)
# Tables that cannot hold anything of a contact. A new table is not among them: fill it in conftest.py, or list it.
WITHOUT_PERSONS = {
    "accounts_apikey", "accounts_loginfailures", "accounts_requestrate", "accounts_user", "accounts_user_groups",
    "accounts_user_user_permissions", "agent_alert", "agent_engineprocess", "agent_keyholder",
    "agent_metrictotal", "agent_pushsender", "agent_pushsubscription", "auth_group",
    "auth_group_permissions", "auth_permission", "django_content_type", "django_migrations", "django_session",
    "messaging_dailyrun", "messaging_knowledge", "messaging_knowledgepart",
    "messaging_messagetemplate",
    "messaging_libraryfile",
    "messaging_savedreply", "messaging_webhookendpoint_sessions",
    "sessions_app_bridge", "sessions_app_forgottenaddress", "sessions_app_formername", "sessions_app_membership",
    "sessions_app_modellimit",
    "sessions_app_whatsappsession", "token_blacklist_blacklistedtoken", "token_blacklist_outstandingtoken",
}  # fmt: skip
EMPTIED = {"messaging_unindexedmessage", "messaging_unembeddedmessage"}  # by the engine, a moment later


def tables() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name FROM information_schema.tables "
            "WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' ORDER BY 1"
        )
        return [name for (name,) in cursor.fetchall()]


def rows_of(table: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT t::text FROM {connection.ops.quote_name(table)} t")  # noqa: S608
        return [text for (text,) in cursor.fetchall()]


def traces() -> dict[str, list[str]]:
    """Return for each table the rows that hold something of the person, encrypted responses too."""
    found = {table: [row for row in rows_of(table) if TRACES.search(row)] for table in tables()}
    found["accounts_idempotentrequest"] += [
        text
        for answer in IdempotentRequest.objects.values_list("answer", flat=True)
        if TRACES.search(text := decrypt(answer))
    ]
    return {table: rows for table, rows in found.items() if rows}


def files() -> list[Path]:
    return [path for path in Path(default_storage.location).rglob("*") if path.is_file()]


def forget(contact: Contact) -> Any:
    return list(forget_contact(contact))[-1]


def test_every_table_that_can_hold_something_of_a_person_is_filled_by_these_tests(person):
    empty = {table for table in tables() if not rows_of(table)}
    assert empty - WITHOUT_PERSONS - EMPTIED == set(), (
        "fill them in conftest.py, or say that they hold nothing of a contact"
    )
    assert len(traces()) >= 15
    assert len(files()) == 4


def test_nothing_of_a_forgotten_person_is_left_in_any_table_or_file(person):
    forget(person)
    index_waiting(limit=500)
    assert traces() == {}
    assert files() == []
    ids = [str(person.pk)]
    with_id = {table for table in tables() if any(ids[0] in row for row in rows_of(table))}
    assert with_id == {"messaging_event"}
    assert Event.objects.filter(data__contact=ids[0]).get().type == "contact.forgotten"


def test_events_are_deleted_in_smaller_batches_where_that_is_slow(person, monkeypatch):
    conversation = Conversation.objects.get(contact=person)
    Event.objects.bulk_create(
        Event(type="test", session_id=person.session_id, conversation_id=conversation.pk, data={}) for _ in range(200)
    )
    monkeypatch.setattr(retention, "TARGET_S", 1e-9)  # every batch takes too long
    counts = [receipt.events for receipt in forget_contact(person)]
    sizes = [after - before for before, after in pairwise(counts) if after > before]
    assert sum(sizes) >= 200
    assert max(sizes[1:]) <= retention.MIN_BATCH
    assert not Event.objects.filter(conversation_id=conversation.pk, type="test").exists()


def test_what_others_have_stays(person, conversation, says):
    other = Message.objects.get(pk=says("Is my order ready?").message_id)
    group = Conversation.objects.get(contact__is_group=True)
    forget(person)
    other.refresh_from_db()
    assert other.text == "Is my order ready?"
    kept = Message.objects.get(conversation=group)
    assert kept.text == "Thank you [removed], I will call [removed]"
    assert kept.details == {"mentions": ["[removed]@s.whatsapp.net"]}
    assert Conversation.objects.filter(pk=conversation.pk).exists()


def test_the_summaries_of_groups_are_made_again_from_what_is_left(person):
    group = Conversation.objects.get(contact__is_group=True)
    forget(person)
    group.refresh_from_db()
    assert (group.summary, group.summary_until, group.summary_version) == ("", None, 2)
    assert not Summary.objects.exists()


def test_the_receipt_counts_and_names_nothing_of_the_person(person):
    receipt = forget(person)
    text = json.dumps(receipt.as_dict(), default=str)
    assert not TRACES.search(text)
    assert (receipt.messages, receipt.files, receipt.turns, receipt.summaries_reset) == (4, 4, 1, 1)
    assert receipt.forgotten_at is not None


@pytest.mark.parametrize(
    ("text", "is_named"), [(f"{NAME} is in a hurry", True), ("Zuleikas are flowers", False), ("", False)]
)
def test_a_profile_that_holds_the_persons_name_is_left_to_people_and_reported(person, text, is_named):
    profile = person.session.agent_profile
    save_draft(profile=profile, instructions=text)
    save_draft(profile=profile, instructions="Be brief.")  # a version still holds it
    out, _ = command(str(person.pk), "--yes")
    assert (f"The agent profile {profile.pk}" in out) is is_named
    assert load_draft(profile).versions.filter(values__instructions=text).exists()


def test_a_correction_in_the_persons_conversation_is_reported(person):
    profile = person.session.agent_profile
    expected = [{"profile": str(profile.pk), "draft_version": load_draft(profile).version}]
    out, _ = command(str(person.pk), "--yes")
    assert f"Version {expected[0]['draft_version']} of the draft of the profile {profile.pk}" in out
    assert Event.objects.get(type="contact.forgotten").data["corrections_to_review"] == expected
    assert not Correction.objects.exists()


def test_a_correction_in_a_group_is_reported_by_the_run_that_completes_an_interrupted_one(person):
    profile = person.session.agent_profile
    first = load_draft(profile).version
    draft = save_draft(profile=profile, instructions="Be very brief.")
    group = Conversation.objects.get(contact__is_group=True)
    for version in (first, draft.version):
        Correction.objects.create(conversation=group, version=draft.versions.get(version=version))
    theirs = Message.objects.filter(conversation=group, sender=person)
    forgetting = forget_contact(person)
    while theirs.exists():
        next(forgetting)
    forgetting.close()
    assert [each["draft_version"] for each in forget(person).corrections_to_review] == [first, draft.version]
    assert Correction.objects.filter(conversation=group).count() == 2


def test_receipts_that_wait_for_messages_of_others_stay(person, session):
    other = EarlyReceipt.objects.create(
        session=session, provider_message_id=f"true_1{NUMBER}@c.us_3EB0B", status="read", at=AT
    )
    forget(person)
    assert EarlyReceipt.objects.get() == other


def test_a_person_who_writes_meanwhile_is_forgotten_with_that_too(person):
    own = Conversation.objects.get(contact=person)
    for number, _ in enumerate(forget_contact(person)):
        if number in {2, 5}:
            Message.objects.create(
                session=own.session, conversation=own, sender=person, direction="inbound", author="contact",
                status="received", text=SECRET,
            )  # fmt: skip
    assert not Contact.objects.filter(pk=person.pk).exists()
    index_waiting(limit=500)
    assert traces() == {}


@pytest.mark.parametrize("steps", range(1, 14, 2))
def test_an_interrupted_forgetting_is_completed_by_the_next(person, steps):
    forgetting = forget_contact(person)
    for _ in range(steps):
        next(forgetting, None)
    forgetting.close()
    if Contact.objects.filter(pk=person.pk).exists():
        forget(person)
    index_waiting(limit=500)
    assert traces() == {}
    assert files() == []


def test_a_stored_response_about_the_person_is_not_replayed_nor_run_again(person):
    forget(person)
    stored = IdempotentRequest.objects.get()
    assert (stored.status_code, stored.location) == (410, "")
    assert json.loads(decrypt(stored.answer))["code"] == "gone"


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("lid", "123456789012345@lid", "Ask @123456789012345"),
        ("phone", "+5511955554444", "Ask +55 11 95555-4444"),
        ("username", "gardener.zq", "Ask gardener.zq"),
    ],
)
def test_every_id_of_a_person_is_redacted_in_what_others_wrote(person, session, kind, value, text):
    person.aliases.create(session=session, kind=kind, value=value)
    theirs = Message.objects.get(conversation__contact__is_group=True, text__startswith="Thank you")
    Message.objects.filter(pk=theirs.pk).update(text=text)
    forget(person)
    theirs.refresh_from_db()
    assert theirs.text in {"Ask [removed]", "Ask @[removed]"}


def test_another_persons_similar_number_stays(person, session):
    similar = Contact.objects.create(session=session, phone="+55119777766661", name="Rui")
    own = Conversation.objects.create(session=session, contact=similar, address="55119777766661@s.whatsapp.net")
    message = Message.objects.create(
        session=session,
        conversation=own,
        direction="inbound",
        author="contact",
        status="handled",
        text="55119777766661",
    )
    forget(person)
    message.refresh_from_db()
    assert message.text == "55119777766661"


@pytest.mark.parametrize("name", ["🌹🌹🌹", "👑🔥A", "𝓐𝓷𝓪", "Ana 🌻", "O'Neil.*", "राम", "C:\\u0041"])
def test_a_name_is_redacted_whole_whatever_characters_it_has(person, name):
    Contact.objects.filter(pk=person.pk).update(name="", bridge_name=name)
    theirs = Message.objects.get(conversation__contact__is_group=True, text__startswith="Thank you")
    Message.objects.filter(pk=theirs.pk).update(text=f"A 🌹🌹 for {name}! Ana, 👑🔥 𝓐 O'Neil C:A")
    forget(Contact.objects.get(pk=person.pk))
    theirs.refresh_from_db()
    assert theirs.text == "A 🌹🌹 for [removed]! Ana, 👑🔥 𝓐 O'Neil C:A"


@pytest.mark.parametrize("name", ["A", "🌹🌹", "❤️‍🔥", "👍🏽👍🏽", "👨‍👩‍👧", "...", "- -", "\u200d\u200d\u200d"])
def test_a_name_of_few_characters_or_of_punctuation_changes_no_text_of_others(person, name):
    Contact.objects.filter(pk=person.pk).update(name="", bridge_name=name)
    theirs = Message.objects.get(conversation__contact__is_group=True, text__startswith="Thank you")
    text = "A - - ... 🌹🌹 ❤️‍🔥 👍🏽👍🏽 👨‍👩‍👧 \u200d\u200d\u200d"
    Message.objects.filter(pk=theirs.pk).update(text=text)
    forget(Contact.objects.get(pk=person.pk))
    theirs.refresh_from_db()
    assert theirs.text == text


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_contact_that_is_being_forgotten_is_merged_with_nobody(person, session, is_kept):
    other = Contact.objects.create(session=session, name="Nobody else")
    Conversation.objects.create(session=session, contact=other, address="281474976710655@lid")
    forgetting = forget_contact(person)
    next(forgetting)
    keep, lose = (person, other) if is_kept else (other, person)
    assert merge_contacts(keep=keep, lose=lose) is None
    assert list(forgetting)[-1].messages == 4
    index_waiting(limit=500)
    assert traces() == {}
    assert list(Contact.objects.filter(pk__in=[person.pk, other.pk])) == [other]


def test_the_files_of_messages_that_a_merge_has_removed_are_deleted(person, session):
    other = Contact.objects.create(session=session, name="Her other phone")
    same = {"direction": "inbound", "author": "contact", "status": "handled", "text": SECRET, "kind": "image"}
    for contact in (person, other):
        own, _ = Conversation.objects.get_or_create(session=session, contact=contact)
        message = Message.objects.create(
            session=session, conversation=own, sender=contact, provider_message_id="3EB0SAME", **same
        )
        media = Media.objects.create(message=message, filename="c.png")
        media.file.save("c.png", ContentFile(SECRET.encode()))
    again = Message.objects.create(
        session=session, conversation=own, sender=other, provider_message_id="3EB0SENT", **same
    )
    Message.objects.create(
        session=session, conversation=person.conversation, sender=person, provider_message_id="3EB0SENT", **same
    )
    library = default_storage.save("library/menu.png", ContentFile(b"menu"))
    Media.objects.create(message=again, filename="menu.png", file=library)
    assert merge_contacts(keep=person, lose=other) is not None
    assert Media.objects.filter(message__conversation__contact=person).exclude(file="").count() == 2
    assert len(files()) == 7
    receipt = forget(person)
    assert [path.read_bytes() for path in files()] == [b"menu"]
    assert receipt.files == 6


def test_copies_of_a_members_messages_that_a_merge_of_groups_keeps_are_deleted(person, session):
    same = {"direction": "inbound", "author": "contact", "status": "handled"}
    groups, neighbour = [], Contact.objects.create(session=session, name="Neighbour")
    for name in ("Gardeners again", "Gardeners of old"):
        group = Contact.objects.create(session=session, is_group=True, name=name)
        meeting = Conversation.objects.create(
            session=session, contact=group, address=f"{group.pk}@g.us", summary=SECRET, attention_note=SECRET
        )
        Summary.objects.create(conversation=meeting, version=1, text=SECRET, until=AT)
        for sender, text, number in ((person, SECRET, 1), (neighbour, "Mine is well", 2)):
            message = Message.objects.create(
                session=session,
                conversation=meeting,
                sender=sender,
                provider_message_id=f"3EB0{number}",
                text=text,
                **same,
            )
            media = Media.objects.create(message=message, filename=f"{number}.png", transcript=text)
            media.file.save("c.png", ContentFile(text.encode()))
        Message.objects.create(
            session=session, conversation=meeting, direction="outbound", author="agent", status="sent",
            provider_message_id="3EB03", text=f"So your {WORDS} is ill",
        )  # fmt: skip
        groups.append(group)
    keep, lose = groups
    merge = merge_contacts(keep=keep, lose=lose)
    assert merge is not None
    assert "messaging_contactmerge" in traces()

    forget(person)

    index_waiting(limit=500)
    assert {table: rows for table, rows in traces().items() if table == "messaging_contactmerge"} == {}
    assert {path.read_bytes() for path in files()} == {b"Mine is well"}
    unmerge(merge=merge)
    restored = Message.objects.filter(conversation__contact=lose.pk)
    assert list(restored.values_list("text", flat=True)) == ["Mine is well"]
    assert Media.objects.filter(message__in=restored).get().transcript == "Mine is well"


def test_a_merge_into_a_contact_that_is_being_forgotten_is_not_taken_back(person, session):
    lost = Contact.objects.create(session=session, name="Her other phone", phone="+5521966665555")
    merge = merge_contacts(keep=person, lose=lost)
    assert merge is not None
    request_forgetting(contact=person)
    with pytest.raises(Conflict, match="being forgotten"):
        unmerge(merge=merge)
    forget_requested()
    assert not Contact.objects.filter(pk__in=[person.pk, lost.pk]).exists()


def test_forgetting_a_contact_that_was_merged_meanwhile_is_refused(person, session, admin, log_in):
    keep = Contact.objects.create(session=session, name="Nobody else")
    page = reverse("admin:contact-forget", args=[person.pk])
    assert log_in(admin).get(page).status_code == 200
    merge_contacts(keep=keep, lose=person)
    with pytest.raises(Conflict, match="merged into another"):
        request_forgetting(contact=person)
    with pytest.raises(Conflict, match="merged into another"):
        forget(person)
    assert log_in(admin).post(page).status_code == 404


def test_the_engine_leaves_a_forgetting_to_the_command_that_does_it_and_completes_it(person):
    forgetting = forget_contact(person)
    next(forgetting)
    forget_requested()
    assert Contact.objects.filter(pk=person.pk).exists()
    forgetting.close()  # the command is stopped
    forget_requested()
    assert not Contact.objects.filter(pk=person.pk).exists()
    assert traces().keys() <= EMPTIED


def test_a_request_of_staff_is_carried_out_by_the_engine(person):
    request_forgetting(contact=person)
    assert Contact.objects.filter(pk=person.pk).exists()
    forget_requested()
    assert not Contact.objects.filter(pk=person.pk).exists()
    index_waiting(limit=500)
    assert traces() == {}


# --- the command ---------------------------------------------------------------------------------------------------


def command(*arguments: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("forget_contact", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.mark.parametrize("spelling", [f"+{NUMBER}", "+55 11 97777-6666", "id"])
def test_the_command_forgets_a_person_by_id_or_phone(person, spelling):
    out, err = command(str(person.pk) if spelling == "id" else spelling, "--yes", "--json")
    (receipt,) = json.loads(out)
    assert receipt["messages"] == 4
    assert not TRACES.search(out + err)
    assert not Contact.objects.filter(pk=person.pk).exists()


def test_a_dry_run_counts_and_deletes_nothing(person):
    out, err = command(str(person.pk), "--dry-run")
    assert "Nothing was deleted" in out
    assert "2 messages in the conversation, 1 in groups" in err
    assert Message.objects.filter(sender=person).count() == 2


def test_nothing_is_deleted_without_a_yes(person):
    with pytest.raises(CommandError, match="add --yes"):
        command(str(person.pk))
    assert Contact.objects.filter(pk=person.pk).exists()


@pytest.mark.parametrize("wrong", ["+5511900000000", "01a2060c-0186-76a7-9642-3a280e006d9b"])
def test_an_unknown_contact_ends_the_command_with_an_error(db, wrong):
    with pytest.raises(CommandError, match="Contact not found"):
        command(wrong, "--yes")


def test_what_is_neither_an_id_nor_a_phone_ends_the_command_with_an_error(db):
    with pytest.raises(CommandError, match="Invalid phone number"):
        command("nonsense", "--yes")


def test_media_that_was_stored_for_others_stays(person, conversation, says):
    other = Message.objects.get(pk=says("A photo").message_id)
    media = Media.objects.create(message=other, filename="mine.png", mime_type="image/png")
    media.file.save("mine.png", ContentFile(b"mine"))
    forget(person)
    assert [path.read_bytes() for path in files()] == [b"mine"]
