"""What `manage.py doctor` says of a system that is well, and of one that is not."""

from collections.abc import Iterator
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from accounts.models import User
from agent.models import PushSubscription
from agent.server import doctor
from agent.server.doctor import Finding
from messaging.models import Conversation, Message, Turn
from sessions_app.models import AgentProfile, Bridge, WhatsAppSession
from sessions_app.services import ensure_default_bridges
from tests.support.bridges.fake_waha import FakeWaha
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_zapw import FakeZapw

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_web_server(settings) -> None:
    settings.PORT = 9


@pytest.fixture
def zapw(settings) -> Iterator[FakeZapw]:
    """A zapw that the environment names, with the key it takes."""
    with FakeZapw() as fake:
        settings.WHATSAPP_BRIDGE, settings.WHATSAPP_API_URL = "zapw", fake.url
        settings.WHATSAPP_API_KEY = fake.api_key
        yield fake


@pytest.fixture
def model(settings) -> Iterator[FakeOpenAI]:
    with FakeOpenAI(api_key="the right key") as fake:
        settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = fake.base_url, fake.api_key
        yield fake


def found(about: str) -> Finding:
    """The first thing found about `about` that is not well, else the first."""
    everything = [finding for finding in doctor.findings() if finding.about == about]
    return next((finding for finding in everything if not finding.is_healthy), everything[0])


def test_the_database_is_named_with_its_version_and_pgvector(db):
    finding = found("database")
    assert finding.is_healthy
    assert "PostgreSQL 18" in finding.text
    assert "pgvector" in finding.text


def test_doctor_reports_https_without_a_host_name(settings):
    settings.HTTPS, settings.ALLOWED_HOSTS = True, ["localhost", "127.0.0.1", "0.0.0.0"]  # noqa: S104
    assert "ALLOWED_HOSTS" in found("configuration").remedy

    settings.ALLOWED_HOSTS.append("agent.example.com")
    assert found("configuration").is_healthy


def test_a_bridge_that_accepts_our_key_is_ok(zapw):
    ensure_default_bridges()
    assert found("bridge default").is_healthy


def test_doctor_reports_a_refused_bridge_key_without_the_key(zapw, settings):
    settings.WHATSAPP_API_KEY = "hush-hush-wrong"
    ensure_default_bridges()

    finding = found("bridge default")
    assert not finding.is_healthy
    assert "WHATSAPP_API_KEY" in finding.remedy
    assert "hush" not in str(finding)


def test_doctor_reports_a_bridge_that_does_not_answer(settings):
    settings.WHATSAPP_BRIDGE, settings.WHATSAPP_API_URL = "zapw", "http://127.0.0.1:9"
    ensure_default_bridges()

    assert "does not answer" in found("bridge default").text


def test_doctor_reports_an_environment_that_changed_since_the_start(bridges, settings):
    settings.WHATSAPP_BRIDGE, settings.WHATSAPP_API_URL = "zapw", "http://127.0.0.1:9"

    assert "Start again" in found("bridge default").remedy


def test_doctor_reports_credentials_encrypted_with_another_secret_key(bridges, settings):
    settings.SECRET_KEY = "another " * 8

    assert "SECRET_KEY" in found("bridges").remedy


def test_a_model_that_answers_is_ok(model, bridges, settings):
    assert found(f"model {settings.OPENAI_MODEL}").is_healthy


def test_doctor_reports_a_refused_model_key_without_the_key(model, bridges, settings):
    settings.OPENAI_API_KEY = "hush-hush-wrong"

    finding = found(f"model {settings.OPENAI_MODEL}")
    assert not finding.is_healthy
    assert "OPENAI_API_KEY" in finding.remedy
    assert "hush" not in str(finding)


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_doctor_reports_that_a_model_calls_tools_and_sees_images(model, bridges, settings, api):
    settings.OPENAI_API, settings.OPENAI_MODEL = api, "one"
    model.say("OK")
    model.call_tools(("say", {"word": "OK"}))
    model.say("Red.")
    findings = {finding.about: (finding.is_healthy, finding.text) for finding in doctor.findings()}
    assert findings["tools of one"] == (True, "it calls them")
    assert findings["pictures before one"] == (True, "it sees them")
    assert "data:image/png;base64," in str(model.requests[-1].body)


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_doctor_reports_that_a_model_supports_neither_tools_nor_images(model, bridges, settings, api):
    settings.OPENAI_API, settings.OPENAI_MODEL = api, "one"
    AgentProfile.objects.update(name="Helper", tools=["remember"])
    model.say("OK")
    for _ in range(3):  # with tools, once more without, and with the picture
        model.answer({"error": {"message": "unsupported"}}, status=400)
    findings = {finding.about: finding for finding in doctor.findings()}
    assert not findings["tools of one"].is_healthy
    assert findings["tools of one"].remedy.endswith("agent profiles: Helper.")
    assert findings["pictures before one"].text.startswith("it takes none")


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_doctor_reports_the_known_limits_of_a_model(model, bridges, settings, api):
    settings.OPENAI_API, settings.OPENAI_MODEL = api, "one"
    model.answer({"error": {"message": "temperature is not supported with this model"}}, status=400)
    model.say("OK")
    model.answer({"error": {"message": "one does not support tools"}}, status=400)
    findings = {finding.about: finding for finding in doctor.findings()}
    assert findings["limits of one"].text.startswith("it takes no tools; it takes no temperature")
    assert findings["tools of one"].text.startswith("it takes none")


@pytest.mark.parametrize("calls", [[], [("speak", {"word": "OK"})], [("say", "{not json")], [("say", {"word": "no"})]])
def test_doctor_reports_a_model_that_misuses_a_tool(model, bridges, settings, calls):
    model.say("OK")
    model.call_tools(*calls, text="OK")
    assert not found(f"tools of {settings.OPENAI_MODEL}").is_healthy


def test_a_model_without_tools_is_ok_if_no_profile_uses_tools(model, bridges, settings):
    AgentProfile.objects.update(tools=[])
    assert found(f"tools of {settings.OPENAI_MODEL}").is_healthy


def test_a_model_that_cannot_read_the_image_has_no_image_input(model, bridges, settings):
    model.say("OK", "OK", "It is not rendered.")
    assert "does not see" in found(f"pictures before {settings.OPENAI_MODEL}").text


def test_a_model_that_does_not_answer_gets_no_further_requests(model, bridges, settings):
    model.fail("not_found")
    list(doctor.findings())
    assert len(model.requests) == 1


def test_doctor_reports_full_text_search_without_an_embedding_model(bridges):
    assert found("embeddings").is_healthy


def test_an_embedding_model_that_answers_is_ok(model, bridges, settings):
    settings.OPENAI_EMBEDDING_MODEL = "small"
    finding = found("embeddings small")
    assert finding.is_healthy
    assert "256 numbers" in finding.text


def test_doctor_reports_an_embedding_model_that_does_not_answer(model, bridges, settings):
    settings.OPENAI_EMBEDDING_MODEL = "small"
    model.fail("not_found")
    finding = found("embeddings small")
    assert not finding.is_healthy
    assert finding.remedy


def test_doctor_reports_a_disconnected_session_with_the_command_that_links_it(session):
    WhatsAppSession.objects.update(status="logged_out")

    assert found("sessions").remedy == f"Link it again: manage.py link_session {session.name}"


def test_doctor_reports_waiting_conversations_and_failed_turns(conversation):
    long_ago = timezone.now() - timedelta(minutes=5)
    Conversation.objects.update(due_at=long_ago)
    assert "1 conversations wait" in found("engine").text

    Conversation.objects.update(due_at=None)
    turn = Turn.objects.create(conversation=conversation, outcome="failed", started_at=long_ago)
    Message.objects.create(
        session=conversation.session, conversation=conversation, direction="inbound", author="contact",
        status="handled", turn=turn,
    )  # fmt: skip
    assert "1 turns failed" in found("engine").text

    call_command("requeue", "--only", "turns", stdout=StringIO())
    Conversation.objects.update(due_at=None)
    assert found("engine").is_healthy


def test_doctor_reports_unconfirmed_messages(conversation):
    Message.objects.create(
        session=conversation.session,
        conversation=conversation,
        direction="outbound",
        author="agent",
        status="unconfirmed",
    )
    assert "may or may not" in found("engine").text


def test_the_doctor_command_prints_remedies_and_exits_with_an_error(bridges):
    output = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", stdout=output)

    assert ended.value.code == 1
    assert "OK    database: " in output.getvalue()
    assert "WRONG web server: nothing answers" in output.getvalue()
    assert "-> Start it: make run" in output.getvalue()


def test_the_address_with_a_generated_webhook_secret_is_shown(settings):
    configured, settings.WHATSAPP_WEBHOOK_SECRET = settings.WHATSAPP_WEBHOOK_SECRET, ""
    Bridge.objects.filter(slug="default").update(webhook_secret="")
    ensure_default_bridges()
    secret = Bridge.objects.get(slug="default").webhook_secret
    assert f"/api/v1/webhooks/default/{secret} " in found("webhook").text

    settings.WHATSAPP_WEBHOOK_SECRET = configured
    assert not any(secret in finding.text for finding in doctor.findings())


@pytest.mark.parametrize(("kind", "status", "is_reported"), [
    ("waha", "sent", True),
    ("waha", "delivered", False),
    ("zapw", "sent", False),
])  # fmt: skip
def test_doctor_reports_messages_without_receipts_where_the_bridge_has_receipts(
    session, conversation, kind, status, is_reported
):
    Bridge.objects.filter(pk=session.bridge_id).update(kind=kind)
    for number in range(6):
        Message.objects.create(
            session=session,
            conversation=conversation,
            direction="outbound",
            author="agent",
            status=status if number else "sent",
            sent_at=timezone.now() - timedelta(minutes=10 + number),
        )

    reported = [finding for finding in doctor.findings() if finding.about == "receipts"]

    assert [finding.is_healthy for finding in reported] == [False] * is_reported


def test_doctor_counts_what_meta_charges_for_this_month(session, conversation):
    Bridge.objects.filter(pk=session.bridge_id).update(kind="cloud")
    now = timezone.now()
    for category, billable, delivered_at in [
        ("service", False, now),
        ("service", True, now),
        ("utility", True, now),
        ("service", True, now - timedelta(days=40)),
        (None, None, now),
    ]:
        pricing = category and {"category": category, "billable": billable}
        Message.objects.create(
            session=session,
            conversation=conversation,
            direction="outbound",
            author="agent",
            status="delivered",
            delivered_at=delivered_at,
            pricing=pricing,
        )

    (finding,) = [finding for finding in doctor.findings() if finding.about == "prices"]

    assert finding.text == ("sales: 2 replies delivered this month (1,000 are free); Meta charges for 2 messages")


@pytest.mark.parametrize(
    ("limits", "reported"),
    [
        (
            {"timelock": {"isActive": True, "timeEnforcementEnds": None}},
            ["sales: WhatsApp limits this account, timelock"],
        ),
        ({"timelock": {"isActive": False, "timeEnforcementEnds": None}}, []),
        (
            {"capping": {"cappingStatus": "CAPPED", "usedQuota": 50, "totalQuota": 50}},
            ["sales: WhatsApp limits this account, capping (50 of 50 used)"],
        ),
        ({}, []),
    ],
)
def test_doctor_reports_the_limits_that_whatsapp_sets_on_an_account(session, limits, reported):
    with FakeWaha(limits=limits) as waha:
        waha.add_session("sales", phone="5511999990000")
        Bridge.objects.filter(pk=session.bridge_id).update(kind="waha", base_url=waha.url, api_key=waha.api_key)

        found = [finding.text for finding in doctor.findings() if finding.about == "account limits"]

    assert found == reported


@pytest.fixture
def notified(staff_member: User) -> PushSubscription:
    """A browser that is notified; nobody is asked."""
    return PushSubscription.objects.create(user=staff_member, endpoint="https://push.example/1", p256dh="x", auth="x")


def test_a_contact_at_localhost_is_a_fault_once_a_browser_is_notified(settings, notified):
    settings.PUBLIC_URL, settings.DEFAULT_FROM_EMAIL = "", "whatsapp-agent@localhost"
    finding = found("web push")
    assert (finding.is_healthy, "Apple" in finding.text, "PUBLIC_URL" in finding.remedy) == (False, True, True)
    settings.PUBLIC_URL = "https://agent.example.com"
    assert found("web push").is_healthy


def test_a_browser_whose_push_service_refuses_us_is_reported_with_the_status(settings, notified):
    settings.PUBLIC_URL = "https://agent.example.com"
    PushSubscription.objects.update(refused_status=403)
    finding = found("web push")
    assert (finding.is_healthy, "1 of 1" in finding.text, "403" in finding.text) == (False, True, True)


def test_the_doctor_does_not_report_web_push_before_a_browser_is_notified(settings):
    settings.PUBLIC_URL = ""
    assert not [finding for finding in doctor.findings() if finding.about == "web push"]
