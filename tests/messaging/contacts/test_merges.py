"""Merges are recorded, wait for a person where there are two phone numbers, and are taken back with what came since."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import structlog
from django.core.management import call_command
from django.utils import timezone

from accounts.models import User
from agent.bridges.events import AliasKind, ChatAddress
from messaging import control
from messaging.contacts.lookup import record_changed_id, resolve_contact
from messaging.contacts.merging import merge_contacts
from messaging.contacts.proposals import AlreadyDecided, ContactGone, accept_merge, join, refuse_merge
from messaging.contacts.unmerging import NotMerged, NotTheLatest, unmerge
from messaging.models import Contact, ContactMerge, Conversation, Event, Message
from messaging.search.ranking import search
from sessions_app.models import WhatsAppSession
from tests.conftest import as_user
from whatsapp_agent.errors import InvalidInput

PHONE = "+5511988887777"
ANA = ChatAddress("5511988887777@s.whatsapp.net", AliasKind.PHONE, phone=PHONE)
HIDDEN = ChatAddress("281474976710655@lid", AliasKind.LID)
BOTH = ChatAddress(HIDDEN.address, AliasKind.LID, phone=PHONE)
BIA = ChatAddress("5521977776666@s.whatsapp.net", AliasKind.PHONE, phone="+5521977776666")
BIA_AS_HIDDEN = ChatAddress(BIA.address, AliasKind.PHONE, phone=BIA.phone, alternates=(HIDDEN,))


@pytest.fixture
def two(says: Any) -> tuple[Contact, Contact]:
    """Ana by her phone, and a hidden number."""
    says("by phone", chat=ANA, sender=ANA)
    says("hidden", chat=HIDDEN, sender=HIDDEN)
    return Contact.objects.get(phone=PHONE), Contact.objects.get(phone="")


def texts(contact: Contact) -> list[str]:
    messages = Message.objects.filter(conversation__contact=contact).order_by("said_at")
    return list(messages.values_list("text", flat=True))


def reply(conversation: Conversation, text: str, **values: Any) -> None:
    values = {"direction": "outbound", "author": "agent", "status": "sent"} | values
    Message.objects.create(session=conversation.session, conversation=conversation, text=text, **values)


# --- by itself ----------------------------------------------------------------------------------------------------
def test_contacts_whose_addresses_the_bridge_names_together_are_merged_and_it_is_recorded(two: Any, says: Any):
    keep, lose = two

    says("both", chat=BOTH, sender=BOTH)

    merge = ContactMerge.objects.get()
    assert (merge.contact, merge.merged_id, merge.status, merge.reason) == (keep, lose.pk, "merged", "addresses")
    assert texts(keep) == ["by phone", "hidden", "both"]
    event = Event.objects.get(type="contact.merged")
    assert (event.data["contact"], event.data["merged_contact"]) == (str(keep.pk), str(lose.pk))


def test_two_phone_numbers_are_not_merged_but_proposed_once_and_messages_still_come(says: Any):
    says("Ana", chat=BOTH, sender=BOTH)
    says("Bia", chat=BIA, sender=BIA)
    ana, bia = Contact.objects.get(phone=PHONE), Contact.objects.get(phone=BIA.phone)

    for number in range(3):
        says(f"whose? {number}", chat=BIA_AS_HIDDEN, sender=BIA_AS_HIDDEN)

    proposal = ContactMerge.objects.get()
    assert (proposal.status, proposal.reason, {proposal.contact_id, proposal.merged_id}) == (
        "proposed", "phones", {ana.pk, bia.pk},
    )  # fmt: skip
    assert (texts(ana), texts(bia)) == (["Ana"], ["Bia", "whose? 0", "whose? 1", "whose? 2"])
    assert Event.objects.filter(type="contact.merge_proposed").count() == 1


def test_a_number_that_changed_to_one_of_another_contact_is_proposed(session: WhatsAppSession, says: Any):
    says("Ana", chat=ANA, sender=ANA)
    says("Bia", chat=BIA, sender=BIA)

    record_changed_id(session=session, old=ANA, new=BIA)

    assert (ContactMerge.objects.get().reason, Contact.objects.count()) == ("number_changed", 2)


def test_a_pair_that_a_person_took_apart_is_not_merged_again_and_its_messages_still_come(two: Any, says: Any):
    says("both", chat=BOTH, sender=BOTH)
    unmerge(merge=ContactMerge.objects.get())

    says("both again", chat=BOTH, sender=BOTH)

    assert (Contact.objects.count(), ContactMerge.objects.count()) == (2, 1)
    assert texts(two[0])[-1] == "both again"


def test_it_is_logged_which_alias_decided_without_the_number(session: WhatsAppSession, two: Any):
    with structlog.testing.capture_logs() as logs:
        resolve_contact(session=session, address=BIA_AS_HIDDEN)
        resolve_contact(session=session, address=ANA)

    decided = [entry["decided_by"] for entry in logs if entry["event"] == "contact_resolved"]
    assert decided == ["lid", "phone"]
    assert not any(part in json.dumps(logs, default=str) for part in ("5511988887777", "281474976710655"))


def test_the_other_spelling_of_a_phone_is_logged_as_what_decided(session: WhatsAppSession, two: Any):
    other = ChatAddress("551188887777@s.whatsapp.net", AliasKind.PHONE, phone="+551188887777")

    with structlog.testing.capture_logs() as logs:
        assert resolve_contact(session=session, address=other) == two[0]

    assert [entry["decided_by"] for entry in logs] == ["phone_spelling"]


# --- the second of two messages -----------------------------------------------------------------------------------
def test_a_message_that_came_under_both_addresses_is_one_after_the_merge(bridge: Any, says: Any, two: Any):
    keep, lose = two
    Message.objects.filter(conversation__contact=lose).update(text="by phone", provider_message_id="3EB0SAME")
    Message.objects.filter(conversation__contact=keep).update(provider_message_id="3EB0SAME")

    merge = merge_contacts(keep=keep, lose=lose)

    assert texts(keep) == ["by phone"]
    assert merge is not None
    unmerge(merge=merge)
    assert [texts(keep), texts(lose)] == [["by phone"], ["by phone"]]
    assert Event.objects.filter(type="message.received").count() == 2  # what comes back is no news


def test_two_messages_that_share_an_id_by_chance_both_count(two: Any):
    Message.objects.update(provider_message_id="3EB0SAME")

    merge_contacts(keep=two[0], lose=two[1])

    assert texts(two[0]) == ["by phone", "hidden"]


# --- what came after ----------------------------------------------------------------------------------------------
def test_what_came_after_the_merge_goes_to_whom_it_came_from(two: Any, says: Any, bridge: Any):
    keep, lose = two
    merge = merge_contacts(keep=keep, lose=lose)
    says("hidden again", chat=HIDDEN, sender=HIDDEN)
    reply(Conversation.objects.get(), "to the hidden one")
    says("phone again", chat=ANA, sender=ANA)
    reply(Conversation.objects.get(), "to the phone")
    assert merge is not None

    lost = unmerge(merge=merge)

    assert lost.pk == lose.pk
    assert texts(keep) == ["by phone", "phone again", "to the phone"]
    assert texts(lose) == ["hidden", "hidden again", "to the hidden one"]
    senders = Message.objects.filter(direction="inbound").values_list("text", "sender")
    assert dict(senders)["hidden again"] == lose.pk
    found = [hit.message.text for hit in search(conversation=lose.conversation, query="again", limit=5)]
    assert found[0] == "hidden again"
    assert "phone again" not in found


def test_a_conversation_that_only_one_of_them_had_is_theirs_again(session: WhatsAppSession, two: Any, says: Any):
    keep, lose = two
    Conversation.objects.get(contact=keep).delete()
    merge = merge_contacts(keep=keep, lose=lose)
    assert merge is not None
    says("by phone, later", chat=ANA, sender=ANA)

    unmerge(merge=merge)

    assert (texts(lose), texts(keep)) == (["hidden"], ["by phone, later"])
    assert Conversation.objects.get(contact=keep).address == ANA.address


def test_an_unanswered_question_that_goes_back_is_still_answered(two: Any, says: Any):
    keep, lose = two
    merge = merge_contacts(keep=keep, lose=lose)
    assert merge is not None
    says("and my question?", chat=HIDDEN, sender=HIDDEN)
    Conversation.objects.update(due_at=None)

    unmerge(merge=merge)

    assert Conversation.objects.get(contact=lose).due_at is not None


def test_a_takeover_and_a_block_since_the_merge_apply_to_both(two: Any):
    keep, lose = two
    merge = merge_contacts(keep=keep, lose=lose)
    assert merge is not None
    control.take_over(conversation=Conversation.objects.get(), until=timezone.now() + timedelta(hours=1))
    Contact.objects.update(is_blocked=True)

    unmerge(merge=merge)

    assert set(Conversation.objects.values_list("control", flat=True)) == {"human"}
    assert set(Contact.objects.values_list("is_blocked", flat=True)) == {True}


def test_a_takeover_of_before_the_merge_that_was_released_since_stays_released_for_both(two: Any):
    keep, lose = two
    control.take_over(conversation=lose.conversation)
    merge = merge_contacts(keep=keep, lose=lose)
    assert merge is not None
    control.release(conversation=Conversation.objects.get())
    control.take_over(conversation=Conversation.objects.get())

    unmerge(merge=merge)

    assert set(Conversation.objects.values_list("control", flat=True)) == {"human"}


def test_a_reply_that_was_written_for_both_is_not_sent_once_they_are_two(two: Any):
    keep, lose = two
    merge = merge_contacts(keep=keep, lose=lose)
    assert merge is not None
    shared = Conversation.objects.get()
    reply(shared, "To both", status="queued", control_epoch=shared.control_epoch)

    unmerge(merge=merge)

    assert Message.objects.get(text="To both").status == "cancelled"


def test_a_name_that_staff_gave_since_stays_with_the_kept_contact(two: Any):
    keep, lose = two
    Contact.objects.filter(pk=lose.pk).update(name="Hidden", bridge_name="Hidden")
    merge = merge_contacts(keep=keep, lose=lose)
    assert merge is not None
    Contact.objects.update(name="Customer 12")

    unmerge(merge=merge)

    assert list(Contact.objects.order_by("created_at").values_list("name", flat=True)) == ["Customer 12", "Hidden"]


# --- decisions ----------------------------------------------------------------------------------------------------
def test_merges_of_one_contact_are_taken_back_last_first(session: WhatsAppSession, two: Any, says: Any):
    says("Bia", chat=BIA, sender=BIA)
    first = merge_contacts(keep=two[0], lose=two[1])
    second = merge_contacts(keep=two[0], lose=Contact.objects.get(phone=BIA.phone))
    assert first is not None
    assert second is not None

    with pytest.raises(NotTheLatest):
        unmerge(merge=first)
    unmerge(merge=second)
    unmerge(merge=first)
    with pytest.raises(NotMerged):
        unmerge(merge=first)

    assert Contact.objects.count() == 3


def test_contacts_of_two_sessions_or_a_person_and_a_group_are_not_merged(
    session: Any, two: Any, bridge: Any, profile: Any
):
    other = WhatsAppSession.objects.create(bridge=bridge, name="other", agent_profile=profile)
    stranger = Contact.objects.create(session=other, phone=PHONE)
    group = Contact.objects.create(session=session, is_group=True)

    for lose in (stranger, group, two[0]):
        with pytest.raises(InvalidInput):
            merge_contacts(keep=two[0], lose=lose)


def proposal_of(keep: Contact, lose: Contact) -> ContactMerge:
    return ContactMerge.objects.create(
        session=keep.session, contact=keep, merged_id=lose.pk, status="proposed", reason="phones"
    )


def test_a_proposal_is_decided_once(two: Any):
    proposal = proposal_of(*two)

    refuse_merge(proposal=proposal)

    for decide in (accept_merge, refuse_merge):
        with pytest.raises(AlreadyDecided):
            decide(proposal=proposal)


def test_a_proposal_whose_contact_is_gone_is_refused(two: Any):
    proposal = proposal_of(*two)
    Contact.objects.filter(pk=two[1].pk).delete()

    with pytest.raises(ContactGone):
        accept_merge(proposal=proposal)


def test_an_accepted_proposal_is_the_merge(two: Any, member: User):
    proposal = proposal_of(*two)

    merge = accept_merge(proposal=proposal, by=member)

    assert (merge.pk, merge.status, merge.decided_by, merge.reason) == (proposal.pk, "merged", member, "phones")


@pytest.mark.parametrize("is_undone", [True, False])
@pytest.mark.parametrize("is_kept", [True, False])
def test_that_contacts_are_two_people_holds_for_the_one_that_either_is_merged_into(
    session: WhatsAppSession, two: Any, is_undone: bool, is_kept: bool
):
    keep, lose = two
    third = Contact.objects.create(session=session, name="Bia")
    pair = (lose, third) if is_kept else (third, lose)
    if is_undone:
        wrong = merge_contacts(keep=pair[0], lose=pair[1])
        assert wrong is not None
        unmerge(merge=wrong)
    else:
        refuse_merge(proposal=proposal_of(*pair))

    merge = merge_contacts(keep=keep, lose=lose)
    join(keep=keep, other=third)

    assert set(Contact.objects.all()) == {keep, third}
    assert merge is not None
    unmerge(merge=merge)
    assert ContactMerge.objects.of_pair(third.pk, lose.pk).count() == 1
    assert not ContactMerge.objects.of_pair(third.pk, keep.pk).exists()


# --- API ------------------------------------------------------------------------------------------------
def test_staff_merges_and_unmerges_by_the_api(two: Any, member: User):
    keep, lose = two
    client = as_user(member)

    merged = client.post(f"/api/v1/contacts/{keep.pk}/merge/", {"contact": str(lose.pk)}, format="json")
    shown = client.get("/api/v1/contact-merges/?status=merged").json()["results"]
    taken_back = client.post(f"/api/v1/contacts/{keep.pk}/unmerge/", {}, format="json")
    again = client.post(f"/api/v1/contacts/{keep.pk}/unmerge/", {}, format="json")

    assert (merged.status_code, merged.json()["merged_contact"], merged.json()["reason"]) == (
        200,
        str(lose.pk),
        "person",
    )
    assert [row["id"] for row in shown] == [merged.json()["id"]]
    assert (taken_back.status_code, taken_back.json()["status"]) == (200, "undone")
    assert (again.status_code, again.json()["code"]) == (409, "not_merged")
    assert Contact.objects.count() == 2


def test_staff_decides_proposals_by_the_api(two: Any, member: User):
    client = as_user(member)
    accepted = client.post(f"/api/v1/contact-merges/{proposal_of(*two).pk}/accept/")
    other = Contact.objects.create(session=two[0].session)
    refused = client.post(f"/api/v1/contact-merges/{proposal_of(two[0], other).pk}/refuse/")
    twice = client.post(f"/api/v1/contact-merges/{refused.json()['id']}/refuse/")

    assert (accepted.json()["status"], refused.json()["status"]) == ("merged", "refused")
    assert (twice.status_code, twice.json()["code"]) == (409, "already_decided")


def test_strangers_neither_see_nor_merge_contacts(two: Any, member: User, bridge: Any, profile: Any):
    keep, lose = two
    stranger = as_user(User.objects.create_user("stranger", password="a long password 1", is_staff=True))
    other = WhatsAppSession.objects.create(bridge=bridge, name="other", agent_profile=profile)
    theirs = Contact.objects.create(session=other)
    proposal = proposal_of(keep, lose)
    merge_path = f"/api/v1/contacts/{keep.pk}/merge/"

    refused = [
        stranger.post(merge_path, {"contact": str(lose.pk)}, format="json").status_code,
        stranger.post(f"/api/v1/contact-merges/{proposal.pk}/accept/").status_code,
        stranger.get(f"/api/v1/contact-merges/{proposal.pk}/").status_code,
        as_user(member)
        .post(f"/api/v1/contacts/{keep.pk}/merge/", {"contact": str(theirs.pk)}, format="json")
        .status_code,
    ]

    assert set(refused) <= {403, 404}
    assert Contact.objects.count() == 3


# --- contacts_doctor ----------------------------------------------------------------------------------------------
def doctor(*arguments: str) -> Any:
    out = StringIO()
    call_command("contacts_doctor", "--json", *arguments, stdout=out)
    return json.loads(out.getvalue())


def test_the_doctor_lists_as_json_who_has_the_name_of_a_hidden_number(two: Any):
    Contact.objects.update(name="Ana Souza", bridge_name="Ana Souza")

    (twins,) = doctor()

    assert {contact["id"] for contact in twins["contacts"]} == {str(contact.pk) for contact in two}
    assert (twins["is_sure"], twins["is_merged"]) == (False, False)
    assert doctor("--merge")[0]["is_merged"] is False
    assert Contact.objects.count() == 2


def test_the_doctor_lists_proposals_without_contacts_marked_as_different(two: Any):
    proposal = proposal_of(*two)
    assert "person has to decide" in doctor()[0]["reason"]

    refuse_merge(proposal=proposal)
    Contact.objects.update(name="Ana Souza", bridge_name="Ana Souza")

    assert doctor() == []
