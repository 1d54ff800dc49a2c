"""Traces and error reports of a running application, received by real HTTP servers."""

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.application import ROOT, SECRETS, Application
from tests.support.background import becomes_true
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_receiver import Answer, Receiver
from tests.support.fake_zapw import FakeZapw

PHONE = "5511988887777"
ASKED, ANSWERED = "Zucchiniquestion", "Rhubarbanswer"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as fake:
        yield fake


@pytest.fixture(scope="module")
def message(
    tmp_path_factory: pytest.TempPathFactory, prepared_data: Path, receiver: Receiver
) -> Iterator[tuple[str, str]]:
    """The ids of a message that was received by a web process and answered by an engine process, and of its turn."""
    with FakeOpenAI(api_key="fake-model-key") as model, FakeZapw() as zapw:
        zapw.add_session("sales", phone="5511999990000")
        application = Application(
            tmp_path_factory.mktemp("tracing"),
            prepared=prepared_data,
            WHATSAPP_API_URL=zapw.url,
            WHATSAPP_API_KEY=zapw.api_key,
            OPENAI_BASE_URL=model.base_url,
            OPENAI_API_KEY="fake-model-key",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
            OTEL_EXPORTER_OTLP_HEADERS="api-key=key-of-the-collector",
            AGENT_DEBOUNCE_S=0,
            AGENT_SWEEP_S=0.2,
            SEND_GAP_S=0,
        )
        zapw.webhook_url = application.webhook_url
        with application:
            model.say(ANSWERED)
            assert zapw.emit_message(ASKED, phone=PHONE, message_id="3EB0AAAA") == [200]
            zapw.wait_for_sent(1)
            assert becomes_true(lambda: application.rows("SELECT 1 FROM messaging_message WHERE status = 'sent'"))
            (row,) = application.rows("SELECT id, turn_id FROM messaging_message WHERE direction = 'inbound'")
        yield str(row[0]), str(row[1])


def spans(receiver: Receiver) -> dict[str, dict[str, Any]]:
    """What was received, by name."""
    found = {}
    for request in receiver.requests:
        if request.path != "/v1/traces":
            continue
        body = gzip.decompress(request.body) if request.headers.get("Content-Encoding") == "gzip" else request.body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    found[span.name] = {
                        "trace": span.trace_id.hex(),
                        "span": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "times": (span.start_time_unix_nano, span.end_time_unix_nano),
                        "attributes": {each.key: each.value.string_value for each in span.attributes},
                        "process": {each.key: each.value.string_value for each in resource.resource.attributes},
                    }
    return found


def test_a_message_is_one_trace_from_the_webhook_to_the_send(message: tuple[str, str], receiver: Receiver) -> None:
    assert becomes_true(lambda: {"receive", "turn", "model", "send"} <= set(spans(receiver)))
    found = spans(receiver)
    inbound, turn = message
    assert {span["trace"] for span in found.values()} == {inbound.replace("-", "")}
    assert found["receive"]["parent"] == ""
    assert found["turn"]["parent"] == found["receive"]["span"]
    assert found["model"]["parent"] == found["turn"]["span"]
    assert found["send"]["parent"] == found["turn"]["span"]
    assert found["turn"]["attributes"]["turn"] == turn
    assert (found["turn"]["attributes"]["outcome"], found["send"]["attributes"]["bridge"]) == ("answered", "zapw")
    starts = [found[name]["times"][0] for name in ("receive", "turn", "model", "send")]
    assert starts == sorted(starts)
    assert all(start <= end for start, end in (span["times"] for span in found.values()))
    assert {span["process"]["service.name"] for span in found.values()} == {"whatsapp-agent"}


def test_the_collector_is_sent_its_header_and_no_text_and_no_number(
    message: tuple[str, str], receiver: Receiver
) -> None:
    requests = [request for request in receiver.requests if request.path == "/v1/traces"]
    assert {request.headers["api-key"] for request in requests} == {"key-of-the-collector"}
    for request in requests:
        body = gzip.decompress(request.body) if request.headers.get("Content-Encoding") == "gzip" else request.body
        assert not [word for word in (ASKED, ANSWERED, PHONE, "sales", "fake-model-key") if word.encode() in body]


@pytest.mark.parametrize("packages", ["opentelemetry", "sentry_sdk"])
def test_without_the_settings_their_packages_are_not_imported(packages: str, tmp_path: Path) -> None:
    program = (
        "import sys, django; django.setup(); from agent import engine, webhooks; from whatsapp_agent import periodic; "
        "periodic.import_jobs(engine.APPS_WITH_JOBS); from whatsapp_agent import urls; "
        f"print([name for name in sys.modules if name.split('.')[0] == {packages!r}])"
    )
    environment = {"DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "whatsapp_agent.settings", "PATH": ""} | SECRETS
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[-1] == "[]"


# --- error reports --------------------------------------------------------------------------------------------------

FAILING = f"""
import django; django.setup()
import structlog
from structlog.contextvars import bind_contextvars
log = structlog.get_logger("agent.turns")
bind_contextvars(conversation="01a21c8a-5a29-75af-9de8-d64083c71241")
def answer(text, phone):
    secret = "fake-model-key"
    raise ValueError(f"cannot answer {{text}} of {{phone}}")
try:
    answer("{ASKED}", "+{PHONE}")
except ValueError:
    log.exception("job_failed", job="turn", text="{ASKED}")
log.error("event_not_stored", kind="{ANSWERED}")
import logging
logging.getLogger("other").error("could not send to %s", "+{PHONE}")
import sentry_sdk; sentry_sdk.flush(10)
"""


def test_an_error_report_has_the_code_and_ids_and_nothing_that_people_wrote(tmp_path: Path) -> None:
    with Receiver() as sentry:
        sentry.answer = Answer(body=b"{}")
        dsn = sentry.url.replace("http://", "http://public-key@") + "/1"
        environment = {
            "DATA_DIR": str(tmp_path),
            "DJANGO_SETTINGS_MODULE": "whatsapp_agent.settings",
            "PATH": "",
            "SENTRY_DSN": dsn,
        } | SECRETS
        subprocess.run([sys.executable, "-c", FAILING], cwd=ROOT, env=environment, capture_output=True, check=True)
        assert becomes_true(lambda: len(reports(sentry)) >= 3)
        sent = reports(sentry)
    first = sent[0]
    (error,) = first["exception"]["values"]
    assert (error["type"], error["value"]) == ("ValueError", "")
    assert [frame["function"] for frame in error["stacktrace"]["frames"]] == ["<module>", "answer"]
    assert first["tags"]["conversation"] == "01a21c8a-5a29-75af-9de8-d64083c71241"
    assert [each["tags"]["event"] for each in sent] == ["job_failed", "event_not_stored", "error"]
    everything = json.dumps(sent)
    secrets = [ASKED, ANSWERED, PHONE, "fake-model-key", *SECRETS.values()]
    assert not [word for word in secrets if word in everything]


def reports(sentry: Receiver) -> list[dict[str, Any]]:
    found = []
    for request in sentry.requests:
        body = gzip.decompress(request.body) if request.headers.get("Content-Encoding") == "gzip" else request.body
        lines = [json.loads(line) for line in body.split(b"\n") if line.startswith(b"{")]
        found += [line for line in lines if "exception" in line]
    return found
