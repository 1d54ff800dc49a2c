"""Runs of commands in the admin."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from commands.models import CommandRun
from messaging.models import Conversation

LogIn = Callable[[User], Client]


@pytest.fixture
def run(conversation: Conversation) -> CommandRun:
    return CommandRun.objects.create(
        conversation=conversation, name="summarize", surface="chat", caller="contact", status="failed",
        error="<script>alert(1)</script>", arguments={"count": 3},
    )  # fmt: skip


def _pages(run: CommandRun) -> list[str]:
    return [
        reverse("admin:commands_commandrun_changelist"),
        reverse("admin:commands_commandrun_change", args=[run.pk]),
    ]


def test_a_member_sees_command_runs(run: CommandRun, staff_member: User, log_in: LogIn) -> None:
    client = log_in(staff_member)
    for address in _pages(run):
        page = client.get(address).content.decode()
        assert "summarize" in page
        assert "<script>alert" not in page


def test_a_stranger_sees_no_command_runs(run: CommandRun, staff_stranger: User, log_in: LogIn) -> None:
    client = log_in(staff_stranger)
    listed, page = (client.get(address) for address in _pages(run))
    assert ("summarize" in listed.content.decode(), page.status_code) == (False, 302)


def test_a_command_run_cannot_be_changed_or_deleted(run: CommandRun, admin: User, log_in: LogIn) -> None:
    client = log_in(admin)
    pages = [_pages(run)[1], reverse("admin:commands_commandrun_delete", args=[run.pk])]
    assert [client.post(page, {"post": "yes"}).status_code for page in pages] == [403, 403]
