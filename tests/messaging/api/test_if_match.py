"""`ETag` and `If-Match`: of two programs that change one thing, the second is told."""

from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import override_settings

from accounts.models import User
from messaging.knowledge import entries as knowledge
from messaging.models import Contact, Knowledge, LibraryFile, SavedReply
from messaging.teamwork import saved_replies
from messaging.webhooks import endpoints
from sessions_app import bridges
from sessions_app.models import AgentProfile, WhatsAppSession
from tests.conftest import as_user
from whatsapp_agent.api.etags import digest_of


def a_contact(session: WhatsAppSession, admin: User) -> str:
    return f"contacts/{Contact.objects.create(session=session, name='Ana').pk}/"


def a_session(session: WhatsAppSession, admin: User) -> str:
    return f"sessions/{session.pk}/"


def a_bridge(session: WhatsAppSession, admin: User) -> str:
    bridges.create_bridge(slug="second", kind="waha", base_url="http://127.0.0.1:3000", api_key="first")
    return "bridges/second/"


def a_profile(session: WhatsAppSession, admin: User) -> str:
    return f"agents/{session.agent_profile_id}/"


def a_draft(session: WhatsAppSession, admin: User) -> str:
    return f"agents/{session.agent_profile_id}/draft/"


def an_entry(session: WhatsAppSession, admin: User) -> str:
    entry = knowledge.create_knowledge(
        agent_profile=session.agent_profile, title="Open?", text="Nine to five", by=admin
    )
    return f"knowledge/{entry.pk}/"


def a_reply(session: WhatsAppSession, admin: User) -> str:
    reply = saved_replies.create_reply(by=admin, session=session, shortcut="hours", text="Nine to five")
    return f"saved-replies/{reply.pk}/"


def a_file(session: WhatsAppSession, admin: User) -> str:
    file = LibraryFile.objects.create(agent_profile=session.agent_profile, name="menu", size_bytes=1)
    return f"library-files/{file.pk}/"


def an_endpoint(session: WhatsAppSession, admin: User) -> str:
    endpoint = endpoints.create_endpoint(owner=admin, url="https://example.com/", types=[], sessions=None)
    return f"webhook-endpoints/{endpoint.pk}/"


ROWS = [
    (a_contact, {"name": "Bea"}, {"is_blocked": True}),
    (a_session, {"access_policy": "listed"}, {"owner_phone": "+5511988887777"}),
    (a_bridge, {"base_url": "http://127.0.0.1:3001"}, {"kind": "evolution"}),
    (a_bridge, {"api_key": "second"}, {"base_url": "http://127.0.0.1:3001"}),
    (a_profile, {"instructions": "Be kind."}, {"purpose": "Sales"}),
    (a_draft, {"instructions": "Be kind."}, {"purpose": "Sales"}),
    (an_entry, {"text": "Nine to six"}, {"title": "When?"}),
    (a_reply, {"text": "Nine to six"}, {"shortcut": "open"}),
    (a_file, {"name": "prices"}, {"description": "Drinks"}),
    (an_endpoint, {"types": ["message.received"]}, {"description": "CRM"}),
]


@pytest.mark.parametrize(("make", "first", "second"), ROWS)
def test_a_change_of_what_somebody_has_changed_since_is_refused(
    make: Callable[..., str], first: dict[str, Any], second: dict[str, Any], admin: User, session: WhatsAppSession
) -> None:
    url, client = f"/api/v1/{make(session, admin)}", as_user(admin)
    seen = client.get(url)["ETag"]
    changed = client.patch(url, first, format="json", headers={"If-Match": seen})
    stored = client.get(url).json()
    refused = client.patch(url, second, format="json", headers={"If-Match": seen})
    assert (changed.status_code, refused.status_code, refused.json()["code"]) == (200, 412, "changed_meanwhile")
    assert client.get(url).json() == stored
    assert changed["ETag"] == client.get(url)["ETag"] != seen
    for header in (changed["ETag"], f'"other", {changed["ETag"]}', "*"):
        assert client.patch(url, first, format="json", headers={"If-Match": header}).status_code == 200
    assert client.patch(url, second, format="json").status_code == 200


@pytest.mark.parametrize("make", [a_draft, an_entry, a_reply, a_file, an_endpoint])
def test_what_somebody_has_changed_since_is_not_deleted(
    make: Callable[..., str], admin: User, session: WhatsAppSession
) -> None:
    url, client = f"/api/v1/{make(session, admin)}", as_user(admin)
    refused = client.delete(url, headers={"If-Match": '"what was there once"'})
    deleted = client.delete(url, headers={"If-Match": client.get(url)["ETag"]})
    assert (refused.status_code, deleted.status_code) == (412, 204)


@pytest.mark.parametrize("header", ["", " ", ",", '"', "W/", "*x", "x" * 5000, '"é"'])
def test_a_header_that_names_no_etag_changes_nothing(header: str, admin: User, session: WhatsAppSession) -> None:
    url = f"/api/v1/{a_reply(session, admin)}"
    answer = as_user(admin).patch(url, {"text": "Other"}, format="json", HTTP_IF_MATCH=header)
    assert (answer.status_code, SavedReply.objects.get().text) == (412, "Nine to five")


def test_a_status_that_the_bridge_reports_is_no_change(admin: User, session: WhatsAppSession) -> None:
    url, client = f"/api/v1/sessions/{session.pk}/", as_user(admin)
    seen = client.get(url)["ETag"]
    WhatsAppSession.objects.update(status="disconnected")
    answer = client.patch(url, {"access_policy": "listed"}, format="json", headers={"If-Match": seen})
    assert (answer.status_code, answer.json()["status"]) == (200, "disconnected")


def test_a_stranger_learns_nothing_by_guessing_etags(admin: User, stranger: User, session: WhatsAppSession) -> None:
    url = f"/api/v1/{a_reply(session, admin)}"
    answers = [
        as_user(stranger).patch(url, {"text": "Mine"}, format="json", headers={"If-Match": header})
        for header in ("*", '"guess"')
    ]
    assert [answer.status_code for answer in answers] in ([404, 404], [403, 403])


def test_a_digest_is_another_one_with_another_secret_key() -> None:
    """Whoever reads an ETag of a bridge cannot try keys against it."""
    with override_settings(SECRET_KEY="another secret of forty characters and more"):
        other = digest_of("the bridge's key")
    assert other != digest_of("the bridge's key") == digest_of("the bridge's key")


@pytest.mark.django_db(transaction=True)
def test_of_two_changes_at_once_with_one_etag_one_is_refused(admin: User, session: WhatsAppSession) -> None:
    """The first holds its row until both have begun; then the second compares with what the first has stored."""
    url, statuses = f"/api/v1/{a_reply(session, admin)}", []
    seen = as_user(admin).get(url)["ETag"]

    def change() -> None:
        answer = as_user(admin).patch(url, {"text": "Second"}, format="json", headers={"If-Match": seen})
        statuses.append(answer.status_code)
        connection.close()

    with transaction.atomic():
        reply = SavedReply.objects.select_for_update().get()
        second = Thread(target=change)
        second.start()
        second.join(timeout=0.5)
        saved_replies.change_reply(reply, by=admin, text="First")
    second.join(timeout=20)
    assert (statuses, SavedReply.objects.get().text) == ([412], "First")


def test_an_entry_that_was_deleted_meanwhile_is_not_created_again(admin: User, session: WhatsAppSession) -> None:
    an_entry(session, admin)
    entry = Knowledge.objects.get()
    knowledge.delete_knowledge(Knowledge.objects.get())
    with pytest.raises(Exception, match="deleted this meanwhile"):
        knowledge.change_knowledge(entry, text="Nine to six")
    assert not Knowledge.objects.exists()


def test_a_profile_without_a_draft_has_the_etag_of_what_a_draft_would_begin_with(
    admin: User, session: WhatsAppSession
) -> None:
    url, client = f"/api/v1/{a_draft(session, admin)}", as_user(admin)
    seen = client.get(url)["ETag"]
    assert client.patch(url, {"purpose": "Sales"}, format="json", headers={"If-Match": seen}).status_code == 200
    assert AgentProfile.objects.get(draft_of=session.agent_profile).purpose == "Sales"
