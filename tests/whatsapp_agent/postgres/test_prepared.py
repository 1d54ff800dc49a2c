"""Statements planned once a connection, and rows kept by their version."""

import json
from uuid import uuid4

import pytest
from django.db import DatabaseError, connection, transaction

from sessions_app.models import AgentProfile
from whatsapp_agent import postgres
from whatsapp_agent.postgres.prepared import Statement
from whatsapp_agent.postgres.row_cache import VersionedRowCache

pytestmark = pytest.mark.django_db(transaction=True)

ADD = Statement("SELECT %(one)s::int + %(two)s::int, %(one)s::int")


@pytest.fixture
def pooler(monkeypatch):
    """Something between us and the server that lends another connection for each transaction."""
    monkeypatch.setattr(Statement, "prepares", True)

    def elsewhere(execute, sql, params, many, context):
        if sql.startswith("EXECUTE "):  # prepared, but over there
            context["cursor"].cursor.execute("DEALLOCATE ALL")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(elsewhere):
        yield


def test_a_parameter_may_be_used_twice():
    assert ADD.rows(one=1, two=2) == [(3, 1)]


def test_text_that_looks_like_sql_stays_text():
    hostile = "'); DROP TABLE messaging_message; -- $1 %(two)s %s"
    assert Statement("SELECT %(text)s::text").rows(text=hostile) == [(hostile,)]


def test_a_statement_is_planned_once_by_each_connection():
    for _ in range(3):
        ADD.rows(one=1, two=2)
        postgres.release()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE name = %s", [ADD.name])
        assert cursor.fetchone() == (1,)


def test_a_statement_prepared_in_a_failed_transaction_is_usable_afterwards():
    statement = Statement("SELECT %(number)s::int * 7")
    with pytest.raises(DatabaseError), transaction.atomic():
        statement.rows(number="no number")
    assert statement.rows(number=6) == [(42,)]


def test_behind_a_pooler_statements_are_run_as_they_are(pooler):
    assert ADD.rows(one=1, two=2) == [(3, 1)]
    assert not Statement.prepares


ADD_PROFILE = Statement("""
    INSERT INTO sessions_app_agentprofile SELECT profile.*
      FROM json_populate_record(NULL::sessions_app_agentprofile, %(profile)s::json) AS profile
""")


@pytest.fixture
def another() -> tuple[Statement, dict[str, str]]:
    """Return the statement that stores one more profile."""
    first = AgentProfile.objects.create(name="Bia")
    values = AgentProfile.objects.filter(pk=first.pk).values().get() | {"id": str(uuid4()), "name": "Ana"}
    return ADD_PROFILE, {"profile": json.dumps(values, default=str)}


COUNT = Statement("SELECT count(*) / %(divisor)s::int FROM sessions_app_agentprofile")


def test_a_statement_sees_what_those_before_it_stored_in_the_same_round_trip(another, django_assert_num_queries):
    COUNT.rows_after([another], divisor=1)
    AgentProfile.objects.filter(name="Ana").delete()
    with django_assert_num_queries(1):
        assert COUNT.rows_after([another], divisor=1) == [(2,)]


def test_nothing_is_stored_if_the_last_of_several_statements_fails(another):
    with pytest.raises(DatabaseError):
        COUNT.rows_after([another], divisor=0)
    assert AgentProfile.objects.count() == 1


def test_behind_a_pooler_several_statements_are_run_as_they_are(another, pooler):
    assert COUNT.rows_after([another], divisor=1) == [(2,)]
    assert not Statement.prepares


def test_a_cached_row_is_read_again_when_it_has_changed():
    profile = AgentProfile.objects.create(name="Bia")
    rows = VersionedRowCache(AgentProfile)
    version = Statement("SELECT ROW(xmin, ctid)::text FROM sessions_app_agentprofile WHERE id = %(id)s")

    def purpose() -> str:
        return rows.get(profile.pk, version.rows(id=profile.pk)[0][0]).purpose

    seen = [purpose()]
    with transaction.atomic():  # changes of one transaction are told apart, too
        for words in ("selling", "helping"):
            AgentProfile.objects.update(purpose=words)
            seen.append(purpose())
    assert seen == ["", "selling", "helping"]


def test_an_unchanged_cached_row_is_not_read_again(django_assert_num_queries):
    profile = AgentProfile.objects.create(name="Bia")
    rows = VersionedRowCache(AgentProfile)
    first = rows.get(profile.pk, "(1,2)")
    with django_assert_num_queries(0):
        assert rows.get(profile.pk, "(1,2)") is first
