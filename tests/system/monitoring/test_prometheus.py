"""A real Prometheus scrapes a running instance, evaluates the rules and answers the queries of the dashboard."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.application import ROOT, Application, free_port
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_zapw import FakeZapw

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "whatsapp-agent.rules.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "whatsapp-agent.json").read_text())
TOKEN = "a-token-of-tests-0123456789"
MODEL = "fake-model"
NO_PROMETHEUS = "prometheus is not installed (Debian: apt install prometheus); .ci/run installs it"
WITHOUT_DATA = {"endpoint_requests_total"}  # there is no webhook endpoint here

pytestmark = pytest.mark.skipif(not shutil.which("prometheus") or not shutil.which("promtool"), reason=NO_PROMETHEUS)


def queries() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory, prepared_data: Path) -> Iterator[Application]:
    """Two web and two engine processes that have answered a message, and refused a stranger."""
    with FakeOpenAI(api_key="fake-model-key") as model, FakeZapw() as zapw:
        zapw.add_session("sales", phone="5511999990000")
        application = Application(
            tmp_path_factory.mktemp("prometheus"),
            prepared=prepared_data,
            WHATSAPP_API_URL=zapw.url,
            WHATSAPP_API_KEY=zapw.api_key,
            OPENAI_BASE_URL=model.base_url,
            OPENAI_API_KEY="fake-model-key",
            OPENAI_MODEL=MODEL,
            MODEL_PRICES=f"{MODEL}=1/0.5/4",
            METRICS_TOKEN=TOKEN,
            WEB_PROCESSES=2,
            ENGINE_PROCESSES=2,
            AGENT_DEBOUNCE_S=0,
            AGENT_SWEEP_S=0.2,
            SEND_GAP_S=0,
        )
        zapw.webhook_url = application.webhook_url
        with application:
            for number in range(8):
                assert zapw.emit_message("Oi", phone=f"551198888777{number}", message_id=f"3EB0AA{number}") == [200]
            zapw.wait_for_sent(8)
            httpx.post(f"{application.url}/api/v1/webhooks/default/wrong/", json={}, trust_env=False)
            yield application


@pytest.fixture(scope="module")
def prometheus(application: Application, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Prometheus with our configuration, but a quicker pace and another address."""
    folder = tmp_path_factory.mktemp("prometheus-server")
    (folder / "metrics_token").write_text(TOKEN)
    shutil.copy(RULES, folder)
    config = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    config = config.replace("15s", "1s").replace("localhost:8000", f"127.0.0.1:{application.port}")
    (folder / "prometheus.yml").write_text(config)
    port = free_port()
    server = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "log").open("wb"),
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1/", trust_env=False, timeout=10) as client:
            wait_until(lambda: client.get(f"http://127.0.0.1:{port}/-/ready").is_success, log=folder / "log")
            wait_until(lambda: value(client, "whatsapp_agent_turns_total offset 3s") is not None, log=folder / "log")
            yield client
    finally:
        server.terminate()
        server.wait(20)


def wait_until(is_done: Any, *, log: Path, timeout_s: float = 60.0) -> None:
    give_up_at = time.monotonic() + timeout_s
    while True:
        try:
            if is_done():
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < give_up_at, log.read_text()[-2000:]
        time.sleep(0.2)


def results(client: httpx.Client, query: str) -> list[Any]:
    answer = client.get("query", params={"query": query.replace("$__rate_interval", "1m")}).json()
    assert answer["status"] == "success", f"{query}: {answer}"
    return answer["data"]["result"]


def value(client: httpx.Client, query: str) -> float | None:
    found = results(client, query)
    return float(found[0]["value"][1]) if found else None


def test_the_rules_and_the_configuration_are_valid(tmp_path: Path) -> None:
    (tmp_path / "metrics_token").write_text(TOKEN)
    shutil.copy(RULES, tmp_path)
    shutil.copy(DEPLOY / "prometheus" / "prometheus.yml", tmp_path)
    for check in (["check", "rules", RULES.name], ["check", "config", "prometheus.yml"]):
        checked = subprocess.run(["promtool", *check], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_prometheus_reads_every_metric_without_an_error(prometheus: httpx.Client) -> None:
    (target,) = prometheus.get("targets").json()["data"]["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")


def test_the_counts_are_those_of_all_processes(prometheus: httpx.Client) -> None:
    """Whichever of the web processes answers: engine processes counted the turns, two web processes the webhooks."""
    for query, expected in {
        'sum(whatsapp_agent_turns_total{outcome="answered"})': 8,
        'sum(whatsapp_agent_sends_total{bridge="zapw",result="sent"})': 8,
        'sum(whatsapp_agent_webhook_requests_total{bridge="unknown",status="401"})': 1,
        f'sum(whatsapp_agent_model_requests_total{{model="{MODEL}",result="ok"}})': 8,
        'sum(whatsapp_agent_workers{state="working"})': 2,
        "whatsapp_agent_turn_seconds_count": 8,
        "whatsapp_agent_oldest_due_seconds": 0,
    }.items():
        give_up_at = time.monotonic() + 60
        while (found := value(prometheus, query)) != expected and time.monotonic() < give_up_at:
            time.sleep(0.2)  # a process stores its counts every few seconds
        assert found == expected, query


def test_every_rule_is_evaluated_and_none_fires_on_a_healthy_instance(prometheus: httpx.Client) -> None:
    wait_until(
        lambda: all(rule["lastEvaluation"] > "2000" for rule in rules(prometheus)), log=Path("/dev/null"), timeout_s=20
    )
    assert {rule["name"]: (rule["health"], rule["state"]) for rule in rules(prometheus)} == dict.fromkeys(
        re.findall(r"alert: (\w+)", RULES.read_text()), ("ok", "inactive")
    )


def rules(client: httpx.Client) -> list[Any]:
    return [rule for group in client.get("rules").json()["data"]["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("query", queries())
def test_each_query_of_the_dashboard_has_data(prometheus: httpx.Client, query: str) -> None:
    found = results(prometheus, query)
    assert found or any(metric in query for metric in WITHOUT_DATA)


def test_each_query_of_the_rules_names_metrics_that_exist(prometheus: httpx.Client) -> None:
    names = set(prometheus.get("label/__name__/values").json()["data"])
    used = set(re.findall(r"whatsapp_agent_\w+", RULES.read_text() + json.dumps(DASHBOARD)))
    assert {name for name in used if name not in names and not any(each in name for each in WITHOUT_DATA)} == set()


def test_no_label_holds_a_number_or_a_name_of_a_session(prometheus: httpx.Client) -> None:
    series = prometheus.get("series", params={"match[]": '{__name__=~"whatsapp_agent_.*"}'}).text
    assert "whatsapp_agent_turns_total" in series
    assert not re.search(r"55119\d+|sales", series)


def test_prometheus_notices_when_nothing_works(prometheus: httpx.Client, application: Application) -> None:
    """Last in this module: it ends the application."""
    application.stop()
    wait_until(
        lambda: next(rule for rule in rules(prometheus) if rule["name"] == "WhatsAppAgentDown")["state"] == "pending",
        log=Path("/dev/null"),
    )
