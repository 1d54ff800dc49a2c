"""Who gets into the pages of users, and what a list asks of the database."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import NoReverseMatch, reverse

from accounts.admin_pages import BoundedPaginator
from accounts.models import User

LogIn = Callable[[User], Client]


def test_an_administrator_makes_a_user_who_can_log_in(admin: User, log_in: LogIn) -> None:
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


@pytest.mark.parametrize("page", ["accounts_user_changelist", "accounts_user_add", "auth_group_changelist"])
def test_staff_who_are_no_administrators_do_not_reach_users_and_groups(
    staff_member: User, log_in: LogIn, page: str
) -> None:
    assert log_in(staff_member).get(reverse(f"admin:{page}")).status_code == 403


def test_the_pages_of_users_and_groups_open(admin: User, log_in: LogIn) -> None:
    client, group = log_in(admin), Group.objects.create(name="operators")
    pages = [
        reverse("admin:index"),
        reverse("admin:accounts_user_changelist"),
        reverse("admin:accounts_user_change", args=[admin.pk]),
        reverse("admin:auth_user_password_change", args=[admin.pk]),
        reverse("admin:auth_group_changelist"),
        reverse("admin:auth_group_change", args=[group.pk]),
    ]
    assert [client.get(page).status_code for page in pages] == [200] * len(pages)


def test_a_password_is_never_shown(admin: User, log_in: LogIn) -> None:
    page = log_in(admin).get(reverse("admin:accounts_user_change", args=[admin.pk])).content.decode()
    assert admin.password not in page


def test_nobody_deletes_themselves(admin: User, log_in: LogIn) -> None:
    answer = log_in(admin).post(reverse("admin:accounts_user_delete", args=[admin.pk]), {"post": "yes"})
    assert answer.status_code == 403
    assert User.objects.filter(pk=admin.pk).exists()


@pytest.mark.parametrize("model", ["outstandingtoken", "blacklistedtoken"])
def test_refresh_tokens_have_no_pages(model: str) -> None:
    with pytest.raises(NoReverseMatch):
        reverse(f"admin:token_blacklist_{model}_changelist")


def test_a_list_counts_no_further_than_its_bound(db: None, monkeypatch: Any) -> None:
    monkeypatch.setattr(BoundedPaginator, "MOST", 3)
    User.objects.bulk_create(User(username=f"user{number}") for number in range(5))
    paginator = BoundedPaginator(User.objects.order_by("username"), 2)
    assert (paginator.count, paginator.is_cut_off) == (3, True)
