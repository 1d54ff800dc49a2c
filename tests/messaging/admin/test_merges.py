"""The admin page of contact merges."""

import pytest
from django.urls import reverse

from accounts.models import User
from messaging.models import Contact, ContactMerge
from sessions_app.models import WhatsAppSession
from tests.support.messaging.admin import LogIn


@pytest.fixture
def two(session: WhatsAppSession) -> list[Contact]:
    return [Contact.objects.create(session=session, name=name) for name in ("Ana", "Ana again")]


@pytest.mark.parametrize(("action", "status"), [("accept", "merged"), ("refuse", "refused")])
def test_staff_decides_proposals_in_the_admin(
    log_in: LogIn, two: list[Contact], admin_user: User, action: str, status: str
):
    proposal = ContactMerge.objects.create(
        session=two[0].session, contact=two[0], merged_id=two[1].pk, status="proposed", reason="phones"
    )
    client = log_in(admin_user)

    client.post(
        reverse("admin:messaging_contactmerge_changelist"),
        {"action": action, "_selected_action": [str(proposal.pk)], "confirmed": "1"},
    )

    assert ContactMerge.objects.get().status == status


def test_staff_merges_contacts_in_the_admin_and_takes_it_back(log_in: LogIn, two: list[Contact], admin_user: User):
    client = log_in(admin_user)
    pages = [reverse(f"admin:messaging_{name}_changelist") for name in ("contact", "contactmerge")]

    client.post(
        pages[0], {"action": "merge", "_selected_action": [str(contact.pk) for contact in two], "confirmed": "1"}
    )
    merge = ContactMerge.objects.get()
    assert (Contact.objects.count(), merge.decided_by) == (1, admin_user)
    assert client.get(pages[1]).status_code == 200
    client.post(pages[1], {"action": "undo", "_selected_action": [str(merge.pk)], "confirmed": "1"})

    assert (Contact.objects.count(), ContactMerge.objects.get().status) == (2, "undone")


def test_a_viewer_decides_nothing(log_in: LogIn, two: list[Contact], viewer: User):
    client = log_in(viewer)

    for action, model, rows in (("merge", "contact", two), ("accept", "contactmerge", [])):
        page = reverse(f"admin:messaging_{model}_changelist")
        client.post(page, {"action": action, "_selected_action": [str(row.pk) for row in rows], "confirmed": "1"})

    assert (Contact.objects.count(), ContactMerge.objects.count()) == (2, 0)
