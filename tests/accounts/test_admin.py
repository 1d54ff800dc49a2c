"""Who gets into the pages of users, and what a list asks of the database."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, reverse

from accounts.admin_pages import BoundedPaginator
from accounts.credentials.keys import authenticate_key, create_key
from accounts.models import ApiKey, Role, User
from sessions_app.models import WhatsAppSession

LogIn = Callable[[User], Client]


def test_an_administrator_creates_a_user_who_can_log_in(admin: User, log_in: LogIn) -> None:
    answer = log_in(admin).post(
        reverse("admin:accounts_user_add"),
        {
            "username": "mia",
            "usable_password": "true",
            "password1": "a long password 1",
            "password2": "a long password 1",
        },
    )
    assert answer.status_code == 302
    assert Client().login(username="mia", password="a long password 1")


def test_a_new_user_has_a_role_that_the_list_shows(admin: User, log_in: LogIn) -> None:
    client, operator = log_in(admin), Group.objects.get_or_create(name="operator")[0]
    form = {"username": "mia", "is_staff": "on", "groups": [str(operator.pk)], "usable_password": "true"}
    client.post(
        reverse("admin:accounts_user_add"), form | {"password1": "a long password 1", "password2": "a long password 1"}
    )
    assert User.objects.get(username="mia").role == Role.OPERATOR
    page = client.get(reverse("admin:accounts_user_changelist")).content.decode()
    assert re.search(r"field-may[^>]*>\s*operator\s*<", page)


def test_the_list_of_users_takes_the_same_queries_for_any_number(admin: User, log_in: LogIn) -> None:
    client, group = log_in(admin), Group.objects.get_or_create(name="operator")[0]
    counts = []
    for name in ("mia", "ana"):
        User.objects.create_user(name, is_staff=True).groups.add(group)
        with CaptureQueriesContext(connection) as queries:
            client.get(reverse("admin:accounts_user_changelist"))
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_a_login_without_next_leads_to_the_index(admin: User, uncollected: None) -> None:
    admin.set_password("a long password 1")
    admin.save()
    form = {"username": admin.username, "password": "a long password 1"}
    answer = Client().post(reverse("admin:login"), form)
    assert answer["Location"] == reverse("admin:index")


def test_the_root_redirects_to_the_admin(client: Client) -> None:
    assert client.get("/")["Location"] == reverse("admin:index")


def test_a_missing_page_has_a_page_for_people(admin: User, log_in: LogIn) -> None:
    answer = log_in(admin).get("/admin/nosuch/", headers={"Accept": "text/html"})
    assert (answer.status_code, "There is no such page" in answer.content.decode()) == (404, True)


def test_a_forbidden_page_explains_what_to_do(staff_member: User, log_in: LogIn) -> None:
    answer = log_in(staff_member).get(reverse("admin:accounts_user_changelist"), headers={"Accept": "text/html"})
    assert (answer.status_code, "Ask an administrator" in answer.content.decode()) == (403, True)


@pytest.fixture
def administrator(db: None) -> User:
    """An administrator by role, and no superuser."""
    user = User.objects.create_user("boss", password="a long password 1", is_staff=True)
    user.groups.add(Group.objects.get_or_create(name="admin")[0])
    return user


def test_an_administrator_by_role_cannot_make_superusers(administrator: User, log_in: LogIn) -> None:
    form = {"username": "boss", "is_staff": "on", "is_active": "on", "is_superuser": "on"}
    answer = log_in(administrator).post(reverse("admin:accounts_user_change", args=[administrator.pk]), form)
    assert (answer.status_code, User.objects.get(username="boss").is_superuser) == (302, False)


def test_an_administrator_by_role_cannot_take_over_a_superuser(administrator: User, admin: User, log_in: LogIn) -> None:
    client = log_in(administrator)
    answers = [
        client.post(reverse("admin:accounts_user_change", args=[admin.pk]), {"username": "mine"}),
        client.post(reverse("admin:auth_user_password_change", args=[admin.pk]), {"password1": "x", "password2": "x"}),
        client.post(reverse("admin:accounts_user_delete", args=[admin.pk]), {"post": "yes"}),
    ]
    assert [answer.status_code for answer in answers] == [403] * 3


def test_the_groups_that_are_roles_keep_their_names(admin: User, log_in: LogIn) -> None:
    group = Group.objects.get_or_create(name="operator")[0]
    answer = log_in(admin).post(reverse("admin:auth_group_change", args=[group.pk]), {"name": "admin2"})
    assert (answer.status_code, Group.objects.filter(name="operator").exists()) == (403, True)


def test_an_api_key_is_shown_once_and_works(admin: User, log_in: LogIn) -> None:
    client = log_in(admin)
    form = {"user": str(admin.pk), "name": "CRM", "scopes": ["messages:read"]}
    shown = client.post(reverse("admin:accounts_apikey_add"), form, follow=True).content.decode()
    text = re.search(r"[0-9a-f]{12}\.[A-Za-z0-9_-]{43}", shown)[0]
    again = client.get(reverse("admin:accounts_apikey_change", args=[ApiKey.objects.get().pk])).content.decode()
    assert authenticate_key(text) == ApiKey.objects.get()
    assert text.partition(".")[2] not in again
    assert f"CRM ({text.partition('.')[0]})" in shown


def test_an_api_key_is_restricted_to_sessions_and_expires(admin: User, session: WhatsAppSession, log_in: LogIn) -> None:
    client = log_in(admin)
    form = {"user": str(admin.pk), "name": "CRM", "scopes": ["messages:read"], "session_ids": [str(session.pk)]}
    form |= {"expires_at_0": "2099-01-01", "expires_at_1": "00:00:00"}
    client.post(reverse("admin:accounts_apikey_add"), form)
    key = ApiKey.objects.get()
    assert (key.session_ids, key.expires_at and key.expires_at.year) == ([session.pk], 2099)
    page = client.get(reverse("admin:accounts_apikey_change", args=[key.pk])).content.decode()
    assert session.name in page


def test_an_api_key_cannot_expire_in_the_past(admin: User, log_in: LogIn) -> None:
    form = {"user": str(admin.pk), "name": "CRM", "scopes": ["messages:read"]}
    form |= {"expires_at_0": "2020-01-01", "expires_at_1": "00:00:00"}
    answer = log_in(admin).post(reverse("admin:accounts_apikey_add"), form)
    assert "Must be in the future." in answer.content.decode()
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Sao_Paulo"])
def test_an_api_key_cannot_expire_with_the_calendar(admin: User, log_in: LogIn, settings: Any, zone: str) -> None:
    settings.TIME_ZONE = zone
    form = {"user": str(admin.pk), "name": "CRM", "scopes": ["messages:read"]}
    form |= {"expires_at_0": "9999-12-31", "expires_at_1": "23:59:59"}
    answer = log_in(admin).post(reverse("admin:accounts_apikey_add"), form)
    assert "Datetime value out of range." in answer.content.decode()
    assert not ApiKey.objects.exists()


def test_a_revoked_api_key_stops_working(admin: User, log_in: LogIn) -> None:
    key, text = create_key(user=admin, name="CRM", scopes=["messages:read"])
    form = {"action": "revoke", "_selected_action": [str(key.pk)], "confirmed": "1"}
    log_in(admin).post(reverse("admin:accounts_apikey_changelist"), form)
    assert authenticate_key(text) is None


@pytest.mark.parametrize(
    "page",
    [
        "accounts_apikey_changelist",
        "accounts_apikey_add",
        "accounts_user_changelist",
        "accounts_user_add",
        "auth_group_changelist",
    ],
)
def test_staff_who_are_no_administrators_cannot_open_users_and_groups(
    staff_member: User, log_in: LogIn, page: str
) -> None:
    assert log_in(staff_member).get(reverse(f"admin:{page}")).status_code == 403


def test_the_pages_of_users_and_groups_open(admin: User, log_in: LogIn) -> None:
    client, group = log_in(admin), Group.objects.create(name="operators")
    pages = [
        reverse("inbox"),
        reverse("admin:accounts_user_changelist"),
        reverse("admin:accounts_user_change", args=[admin.pk]),
        reverse("admin:auth_user_password_change", args=[admin.pk]),
        reverse("admin:auth_group_changelist"),
        reverse("admin:auth_group_change", args=[group.pk]),
    ]
    assert [client.get(page).status_code for page in pages] == [200] * len(pages)


def test_a_user_page_does_not_show_the_password_hash(admin: User, log_in: LogIn) -> None:
    page = log_in(admin).get(reverse("admin:accounts_user_change", args=[admin.pk])).content.decode()
    assert admin.password not in page


def test_a_user_cannot_delete_themselves(admin: User, log_in: LogIn) -> None:
    answer = log_in(admin).post(reverse("admin:accounts_user_delete", args=[admin.pk]), {"post": "yes"})
    assert answer.status_code == 403
    assert User.objects.filter(pk=admin.pk).exists()


@pytest.mark.parametrize("model", ["outstandingtoken", "blacklistedtoken"])
def test_refresh_tokens_have_no_pages(model: str) -> None:
    with pytest.raises(NoReverseMatch):
        reverse(f"admin:token_blacklist_{model}_changelist")


def test_a_list_counts_up_to_its_limit(db: None, monkeypatch: Any) -> None:
    monkeypatch.setattr(BoundedPaginator, "MAX_COUNT", 3)
    User.objects.bulk_create(User(username=f"user{number}") for number in range(5))
    paginator = BoundedPaginator(User.objects.order_by("username"), 2)
    assert (paginator.count, paginator.is_cut_off) == (3, True)
