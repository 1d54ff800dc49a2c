"""`/metrics`: who may read it, and that its values are those of all processes."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from agent.models import EngineProcess, MetricTotal
from agent.monitoring.counts import store_counts
from agent.monitoring.instruments import BRIDGE_EVENTS, TOKENS, TURN_SECONDS, TURNS
from messaging.models import Conversation, Message
from tests.support.messaging.zapw_events import text_event
from whatsapp_agent.telemetry import metrics
from whatsapp_agent.telemetry.metrics import MAX_LABEL_VALUES, Counter, Histogram

TOKEN = "a-token-of-tests-0123456789"


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    """What tests before this one counted in this process is forgotten."""
    metrics.take_all()


@pytest.fixture
def token(settings: Any) -> str:
    settings.METRICS_TOKEN = TOKEN
    return TOKEN


@pytest.fixture
def scrape(client: Client, token: str, db: None):
    def read() -> dict[tuple[str, ...], float]:
        """Return the values by name and label values, in the order of the labels' names."""
        answer = client.get("/metrics", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 200
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(answer.content.decode())
            for sample in family.samples
        }

    return read


# --- who may read it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/metrics", "/metrics/"])
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"]
)
def test_a_stranger_does_not_read_the_metrics(client, db, token, path, header):
    answer = client.get(path, headers={} if header is None else {"authorization": header})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert b"whatsapp_agent_" not in answer.content


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", f"Bearer {TOKEN}"])
def test_without_a_token_there_are_no_metrics(client, db, header):
    assert client.get("/metrics", headers={"authorization": header}).status_code == 404


def test_the_metrics_are_read_at_any_host(client, db, token):
    answer = client.get("/metrics", headers={"authorization": f"Bearer {token}", "host": "10.1.2.3"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")


def test_the_metrics_take_no_post(client, db, token):
    assert client.post("/metrics", headers={"authorization": f"Bearer {token}"}).status_code == 405


# --- counters -----------------------------------------------------------------------------------------------------


def test_what_several_processes_counted_is_added(scrape):
    for count in (2, 3):  # each a process, or one that was started again
        TURNS.add("answered", value=count)
        store_counts()
    TURNS.add("answered")  # of the process that is asked, not stored yet
    assert scrape()["whatsapp_agent_turns_total", "answered"] == 6


@pytest.mark.django_db(transaction=True)
def test_processes_that_store_at_once_lose_no_count(token):
    def count_and_store() -> None:
        try:
            for _ in range(10):
                TURNS.add("answered")
                TURNS.add("failed")
                BRIDGE_EVENTS.add("MessageReceived", "kept")
                store_counts()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=count_and_store) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    stored = {tuple(row.labels): row.values for row in MetricTotal.objects.all()}
    assert stored == {("answered",): [40], ("failed",): [40], ("MessageReceived", "kept"): [40]}


@pytest.mark.django_db(transaction=True)
def test_a_count_that_could_not_be_stored_is_stored_later(scrape):
    TURNS.add("answered")
    with connections["default"].cursor() as cursor:
        cursor.execute("ALTER TABLE agent_metrictotal RENAME TO agent_away")
        try:
            with pytest.raises(Exception, match="agent_metrictotal"):
                store_counts()
        finally:
            cursor.execute("ALTER TABLE agent_away RENAME TO agent_metrictotal")
    TURNS.add("answered")
    assert scrape()["whatsapp_agent_turns_total", "answered"] == 2


def test_a_histogram_counts_how_many_took_at_most_so_long(scrape):
    for seconds in (0.01, 0.1, 0.3, 500.0):
        TURN_SECONDS.observe(seconds, "answered")
    values = scrape()
    name = "whatsapp_agent_turn_seconds"
    counted = [values[f"{name}_bucket", bound, "answered"] for bound in ("0.05", "0.1", "0.5", "120.0", "+Inf")]
    assert counted == [1, 2, 3, 3, 4]
    assert (values[f"{name}_count", "answered"], values[f"{name}_sum", "answered"]) == (4, pytest.approx(500.41))


def test_a_metric_has_a_bounded_number_of_labels():
    counter = Counter("test_bounded", "Of this test alone.", labels=("model",))
    try:
        for number in range(MAX_LABEL_VALUES + 500):
            counter.add(f"model-{number}")
        counted = {each.labels: each.values for each in counter.take()}
        assert len(counted) == MAX_LABEL_VALUES + 1
        assert counted["other",] == [500]
        counter.add("model-1")  # known ones are counted as before
        assert [each.labels for each in counter.take()] == [("model-1",)]
    finally:
        del metrics.registry["test_bounded"]


def test_labels_of_another_number_are_a_mistake():
    histogram = Histogram("test_labels", "Of this test alone.", buckets=(1.0,), labels=("kind",))
    try:
        with pytest.raises(ValueError, match="test_labels"):
            histogram.observe(1.0)
    finally:
        del metrics.registry["test_labels"]


def test_cost_follows_the_prices_of_the_models_that_have_one(scrape, settings):
    settings.MODEL_PRICES = {"priced": {"prompt": 2.0, "cached": 0.5, "completion": 8.0}}
    for kind, tokens in {"prompt": 1_000_000, "cached": 2_000_000, "completion": 500_000}.items():
        TOKENS.add("priced", kind, value=tokens)
        TOKENS.add("unpriced", kind, value=tokens)
    TOKENS.add("priced", "other", value=7)  # what too many labels become
    values = scrape()
    assert values["whatsapp_agent_model_cost_total", "priced"] == pytest.approx(2.0 + 1.0 + 4.0)
    assert ("whatsapp_agent_model_cost_total", "unpriced") not in values


def test_a_webhook_request_is_counted_by_kind_of_bridge_and_status(scrape, client, bridge, profile, settings):
    path = f"/api/v1/webhooks/default/{settings.WHATSAPP_WEBHOOK_SECRET}/"
    client.post(path, text_event(), content_type="application/json")
    client.post("/api/v1/webhooks/nobody/5511988887777/", b"{}", content_type="application/json")
    values = scrape()
    assert values["whatsapp_agent_webhook_requests_total", "zapw", "200"] == 1
    assert values["whatsapp_agent_webhook_requests_total", "unknown", "401"] == 1
    assert values["whatsapp_agent_bridge_events_total", "MessageReceived", "kept"] == 1
    assert values["whatsapp_agent_webhook_seconds_count",] == 2
    assert not [key for key in values if "5511988887777" in str(key) or "nobody" in str(key)]


# --- what the database knows --------------------------------------------------------------------------------------


def test_the_queues_are_those_of_the_database(scrape, conversation):
    now = timezone.now()
    Conversation.objects.update(due_at=now - timedelta(seconds=90), burst_started_at=now - timedelta(seconds=100))
    Message.objects.create(
        session=conversation.session,
        conversation=conversation,
        direction="outbound",
        author="agent",
        status="queued",
        created_at=now - timedelta(seconds=50),
    )
    values = scrape()
    assert (values["whatsapp_agent_conversations_due",], values["whatsapp_agent_messages_queued",]) == (1, 1)
    assert values["whatsapp_agent_oldest_due_seconds",] == pytest.approx(90, abs=20)
    assert values["whatsapp_agent_oldest_unanswered_seconds",] == pytest.approx(100, abs=20)
    assert values["whatsapp_agent_oldest_queued_seconds",] == pytest.approx(50, abs=20)


def test_nothing_that_waits_is_zero_seconds_old(scrape):
    values = scrape()
    assert (values["whatsapp_agent_oldest_due_seconds",], values["whatsapp_agent_messages_queued",]) == (0, 0)


def test_a_status_that_no_session_has_is_shown_as_zero(scrape, session):
    values = scrape()
    assert values["whatsapp_agent_sessions", "connected"] == 1
    assert values["whatsapp_agent_sessions", "disconnected"] == 0


@pytest.mark.parametrize(
    ("seen_s_ago", "stalled_s", "state"), [(1, 0, "working"), (1, 600, "stalled"), (60, 0, "dead")]
)
def test_workers_are_counted_by_state(scrape, seen_s_ago, stalled_s, state):
    now = timezone.now()
    EngineProcess.objects.create(
        kind="worker",
        host="one",
        pid=1,
        started_at=now,
        seen_at=now - timedelta(seconds=seen_s_ago),
        stalled_s=stalled_s,
    )
    values = scrape()
    assert {each: values["whatsapp_agent_workers", each] for each in ("working", "stalled", "dead")} == {
        "working": 0,
        "stalled": 0,
        "dead": 0,
    } | {state: 1}


def test_connections_disk_and_version_are_shown(scrape):
    values = scrape()
    assert values["whatsapp_agent_database_connections", "active"] >= 1
    assert values["whatsapp_agent_database_max_connections",] > 1
    assert 0 < values["whatsapp_agent_disk_free_bytes",] <= values["whatsapp_agent_disk_size_bytes",]
    assert any(name[0] == "whatsapp_agent_info" for name in values)
