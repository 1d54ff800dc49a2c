"""`manage.py create_user`: a user with a role who sees some sessions."""

import io
import json

import pytest
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command

from accounts.models import Role, User
from sessions_app.models import Bridge, WhatsAppSession

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery staple"


def create_user(*arguments: str) -> str:
    out = io.StringIO()
    call_command("create_user", *arguments, stdout=out)
    return out.getvalue()


def test_the_user_has_the_role_and_sees_the_session(session):
    create_user("rita", "--role", "viewer", "--session", session.name)
    user = User.objects.get(username="rita")
    assert user.role == Role.VIEWER
    assert list(WhatsAppSession.objects.visible_to(user)) == [session]


def test_the_generated_password_is_printed_and_works(db):
    password = json.loads(create_user("rita", "--json"))["password"]
    assert authenticate(username="rita", password=password) is not None


def test_a_password_of_the_standard_input_is_used_and_not_printed(db, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD + "\n"))
    assert PASSWORD not in create_user("rita", "--password-stdin")
    assert User.objects.get().check_password(PASSWORD)


def test_a_dry_run_creates_nobody(session):
    assert "Would create rita" in create_user("rita", "--session", session.name, "--dry-run")
    assert not User.objects.exists()


def test_a_user_for_the_api_alone_may_not_log_in_to_the_admin(db):
    create_user("crm", "--api-only")
    assert not User.objects.get().is_staff


def test_a_name_that_is_taken_is_refused(db):
    create_user("rita")
    with pytest.raises(CommandError, match="already exists"):
        create_user("rita")


def test_an_invalid_name_is_refused(db):
    with pytest.raises(CommandError, match="username"):
        create_user("rita smith")


def test_a_weak_password_creates_nobody(db, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("12345678\n"))
    with pytest.raises(CommandError, match="too common"):
        create_user("rita", "--password-stdin")
    assert not User.objects.exists()


def test_an_unknown_session_creates_nobody(session):
    with pytest.raises(CommandError, match="no session 'nobody'"):
        create_user("rita", "--session", "nobody")
    assert not User.objects.exists()


def test_a_session_name_of_two_bridges_must_name_its_bridge(session, simulator: Bridge):
    WhatsAppSession.objects.create(bridge=simulator, name=session.name, agent_profile=session.agent_profile)
    with pytest.raises(CommandError, match="default/sales, simulator/sales"):
        create_user("rita", "--session", session.name)
    create_user("rita", "--session", f"simulator/{session.name}")
    assert User.objects.get().memberships.get().session.bridge == simulator
