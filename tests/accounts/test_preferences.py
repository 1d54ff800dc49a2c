"""What each person chooses: language, time zone, light or dark, alerts; and that a new operator can log in at once."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.core import mail
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from messaging.models import Contact, Conversation
from messaging.teamwork import digest
from tests.conftest import as_user

URL = "/admin/preferences/"


def save(browser, **values):
    return browser.post(URL, {"language": "", "time_zone": ""} | values)


def test_pages_are_in_the_language_and_the_time_zone_of_the_user(admin, log_in):
    browser = log_in(admin)
    assert save(browser, language="pt-br", time_zone="America/Sao_Paulo").status_code == 302
    page = browser.get("/admin/dashboard/")
    assert (page.headers["Content-Language"], "America/Sao_Paulo" in page.content.decode()) == ("pt-br", True)
    assert "Painel" in page.content.decode()
    assert "Dashboard" in log_in(User.objects.create_superuser("other")).get("/admin/dashboard/").content.decode()


@pytest.mark.parametrize(
    "path",
    ["/admin/inbox/", "/simulator/", URL, "/admin/messaging/contact/", "/admin/messaging/knowledge/add/",
     "/admin/messaging/conversation/import/", "/admin/sessions_app/whatsappsession/",
     "/admin/sessions_app/agentprofile/", "/admin/accounts/user/",
     "/admin/messaging/messagetemplate/", "/admin/password_change/"],
)  # fmt: skip
def test_each_page_that_staff_work_on_is_in_the_language_of_its_user(admin, log_in, path):
    User.objects.filter(pk=admin.pk).update(language="pt-br", time_zone="America/Sao_Paulo")
    page = log_in(admin).get(path, headers={"accept-language": "en"})
    text = page.content.decode()
    assert (page.status_code, page.headers["Content-Language"], '<html lang="pt-br"' in text) == (200, "pt-br", True)
    is_of_unfold = 'id="nav-sidebar"' in text
    assert not is_of_unfold or "America/Sao_Paulo" in text


def test_without_a_choice_pages_are_in_the_language_of_the_browser(admin, log_in):
    browser = log_in(admin)
    for header, language in (("pt-BR,pt;q=0.9", "pt-br"), ("xx", "en"), ("", "en")):
        assert browser.get(URL, headers={"accept-language": header}).headers["Content-Language"] == language


def test_preferences_are_the_users_own_and_in_the_log(admin, member, log_in):
    save(log_in(admin), alerts_waiting="on", mails_digest="on")
    admin.refresh_from_db()
    member.refresh_from_db()
    assert (admin.alerts_waiting, admin.alerts_assigned, admin.mails_digest) == (True, False, True)
    assert (member.alerts_assigned, member.mails_digest) == (True, False)
    assert LogEntry.objects.get().object_id == str(admin.pk)


def test_light_or_dark_holds_on_each_page_of_its_user_alone(admin, staff_member, log_in):
    mine, other = log_in(admin), log_in(staff_member)
    assert save(mine, theme="dark").status_code == 302
    for browser, root, chat in ((mine, 'class="dark"', 'data-theme="dark"'), (other, 'class="auto"', 'lang="en">')):
        pages = [browser.get(path).content.decode().partition("<head>")[0] for path in (URL, "/admin/dashboard/")]
        assert [root in page for page in pages] == [True, True]
        chats = [browser.get(path).content.decode().partition("<head>")[0] for path in ("/admin/inbox/", "/simulator/")]
        assert [chat in page for page in chats] == [True, True]


def test_the_switch_of_a_page_saves_to_the_account(admin, log_in):
    browser, switch = log_in(admin), reverse("choose-theme")
    for chosen, stored in (("dark", "dark"), ("light", "light"), ("auto", "")):
        assert browser.post(switch, {"theme": chosen}).status_code == 204
        assert User.objects.get(pk=admin.pk).theme == stored
    assert [browser.post(switch, values).status_code for values in ({"theme": "x"}, {"theme": ""}, {})] == [400] * 3
    assert browser.get(switch).status_code == 405


def test_others_choose_no_theme_for_staff(client, member, log_in):
    for browser in (client, log_in(member)):
        assert browser.post(reverse("choose-theme"), {"theme": "dark"}).status_code == 302
    assert not User.objects.exclude(theme="").exists()


def test_a_page_can_ask_whether_its_login_still_holds(admin, member, log_in, client):
    browser, url = log_in(admin), reverse("login-state")
    state = browser.get(url)
    assert (state.json()["user"], bool(state.json()["csrf"])) == (str(admin.pk), True)
    assert "no-store" in state.headers["Cache-Control"]
    browser.logout()
    for stranger in (browser, client, log_in(member)):
        assert (stranger.get(url).status_code, "csrf" in stranger.get(url).json()) == (401, False)


@pytest.mark.parametrize(
    "values", [{"language": "xx"}, {"theme": "pink"}, {"time_zone": "Mars/Base"}, {"time_zone": "../etc/passwd"}]
)
def test_what_is_no_choice_is_refused(admin, log_in, values):
    assert save(log_in(admin), **values).status_code == 400


def test_a_time_zone_that_is_no_longer_known_is_the_servers(admin, log_in):
    User.objects.filter(pk=admin.pk).update(time_zone="Mars/Base")
    assert log_in(admin).get(URL).status_code == 200


def test_the_api_speaks_english_whatever_its_user_chose(member):
    User.objects.filter(pk=member.pk).update(language="pt-br")
    answer = as_user(member).get("/api/v1/messages/?limit=x")
    assert "Unknown parameter." in answer.json()["fields"]["limit"]


def test_others_do_not_get_to_preferences(client, member, log_in):
    assert client.get(URL).status_code == 302
    assert log_in(member).get(URL).status_code == 302


# --- users --------------------------------------------------------------------------------------------------------


def test_an_operator_who_was_added_can_log_in_and_sees_a_number(admin, session, log_in, client, uncollected):
    browser = log_in(admin)
    add = reverse("admin:accounts_user_add")
    form = browser.get(add).context["adminform"].form
    assert form.initial["is_staff"] is True
    operator = Group.objects.get_or_create(name="operator")[0]
    body = {
        "username": "rita", "password1": "a long password 1", "password2": "a long password 1", "is_staff": "on",
        "usable_password": "true", "groups": [operator.pk], "memberships-TOTAL_FORMS": "1",
        "memberships-INITIAL_FORMS": "0", "memberships-0-session": str(session.pk),
    }  # fmt: skip
    assert browser.post(add, body).status_code == 302
    rita = User.objects.get(username="rita")
    assert list(rita.whatsapp_sessions.all()) == [session]
    assert client.login(username="rita", password="a long password 1")
    assert client.get("/admin/inbox/").status_code == 200


def links_of_menu(browser):
    menu = browser.get(reverse("admin:messaging_contact_changelist")).context["sidebar_navigation"]
    return {str(item["link"]) for group in menu for item in group["items"]}


def test_the_menu_of_an_operator_has_no_internals(staff_member, admin, session, log_in):
    turns = reverse("admin:messaging_turn_changelist")
    shown = links_of_menu(log_in(staff_member))
    assert (reverse("dashboard") in shown, turns in shown) == (True, False)
    assert turns in links_of_menu(log_in(admin))


# --- e-mails ------------------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(conversation, member, settings):
    """Waiting for a person for an hour; its member asked for e-mails."""
    settings.EMAIL_URL, settings.DIGEST_AFTER_MINUTES = "smtp://localhost", 15
    User.objects.filter(pk=member.pk).update(is_staff=True, mails_digest=True, email="member@example.com")
    Conversation.objects.update(
        needs_attention=True, unread_count=1, last_message_at=timezone.now() - timedelta(hours=1)
    )
    return conversation


def test_a_hostile_name_is_one_line_of_the_mail_and_does_not_turn_its_link_around(waiting):
    Contact.objects.update(name="\u202eAna\r\nBcc: all@example.com\n\u2067")
    assert digest.mail_digests() == 1
    (sent,) = mail.outbox
    assert f"- Ana Bcc: all@example.com ({waiting.session.name}): /admin/inbox/" in sent.body
    assert (sent.subject, sent.recipients()) == (
        "[WhatsApp Agent] 1 conversation waits for a person",
        ["member@example.com"],
    )


def test_what_nobody_looked_at_is_mailed_once(waiting):
    assert (digest.mail_digests(), digest.mail_digests()) == (1, 0)
    (sent,) = mail.outbox
    assert (sent.to, "1 conversation waits" in sent.subject, str(waiting.pk) in sent.body) == (
        ["member@example.com"], True, True,
    )  # fmt: skip


def test_what_is_too_much_for_one_mail_is_in_the_next(waiting, monkeypatch):
    monkeypatch.setattr(digest, "MAX_LISTED", 1)
    contact = Contact.objects.create(session=waiting.session, name="Later")
    later = Conversation.objects.create(
        session=waiting.session, contact=contact, address="5511900000002@s.whatsapp.net", needs_attention=True,
        unread_count=1, last_message_at=timezone.now() - timedelta(minutes=30),
    )  # fmt: skip
    assert [digest.mail_digests() for _ in range(3)] == [1, 1, 0]
    listed = [[str(each.pk) in sent.body for each in (waiting, later)] for sent in mail.outbox]
    assert listed == [[True, False], [False, True]]
    assert ["1+ conversation" in sent.subject for sent in mail.outbox] == [True, False]


def test_what_begins_to_wait_after_a_newer_one_was_mailed_is_mailed_too(waiting):
    contact = Contact.objects.create(session=waiting.session, name="Earlier")
    earlier = Conversation.objects.create(
        session=waiting.session, contact=contact, address="5511900000002@s.whatsapp.net", unread_count=1,
        last_message_at=timezone.now() - timedelta(hours=2),
    )  # fmt: skip
    assert digest.mail_digests() == 1
    Conversation.objects.filter(pk=earlier.pk).update(needs_attention=True, attention_reason="turn_failed")
    assert (digest.mail_digests(), digest.mail_digests()) == (1, 0)
    assert [str(each.pk) in mail.outbox[1].body for each in (waiting, earlier)] == [False, True]


def test_a_new_message_is_mailed_again(waiting):
    digest.mail_digests()
    Conversation.objects.update(last_message_at=timezone.now() - timedelta(minutes=20))
    assert digest.mail_digests() == 1


@pytest.mark.parametrize(
    "changes",
    [{"unread_count": 0}, {"done_at": Now()}, {"last_message_at": Now()}, {"needs_attention": False}],
)
def test_what_was_looked_at_or_does_not_wait_is_not_mailed(waiting, changes):
    Conversation.objects.update(**changes)
    assert digest.mail_digests() == 0


def test_nobody_is_mailed_who_did_not_ask_or_may_not_see_it(waiting, member, stranger, admin):
    Conversation.objects.update(assigned_to=admin)
    assert digest.mail_digests() == 0
    Conversation.objects.update(assigned_to=None)
    User.objects.update(mails_digest=True, email="x@example.com", is_staff=True)
    User.objects.filter(pk=member.pk).update(mails_digest=False)
    assert digest.mail_digests() == 1  # the administrator; the stranger sees nothing


def test_a_mail_server_that_is_down_is_asked_again(waiting, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", 9, 1
    assert digest.mail_digests() == 0
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert digest.mail_digests() == 1
