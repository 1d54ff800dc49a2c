"""The alert rules of deploy/prometheus, evaluated by promtool: each fires, and recovers when its cause is gone."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.application import ROOT

RULES = ROOT / "deploy" / "prometheus" / "whatsapp-agent.rules.yml"
NAMES = re.findall(r"alert: (\w+)", RULES.read_text())
FIRING_AT, RECOVERED_AT = "12m", "40m"
# A sample a minute: good for a minute, bad until the 15th, then good again. `good`, `bad` are gauges; a counter grows.
GAUGES = {
    "WhatsAppAgentDown": [('up{job="whatsapp-agent"}', 1, 0)],
    "WhatsAppAgentNoWorker": [('whatsapp_agent_workers{state="working"}', 2, 0)],
    "WhatsAppAgentMessagesWait": [("whatsapp_agent_oldest_due_seconds", 120, 121)],
    "WhatsAppAgentNumberOffline": [('whatsapp_agent_sessions{status="logged_out"}', 0, 1)],
    "WhatsAppAgentDiskNearlyFull": [
        ("whatsapp_agent_disk_free_bytes", 10, 9), ("whatsapp_agent_disk_size_bytes", 100, 100)
    ],
    "WhatsAppAgentConnectionsUsedUp": [
        ('whatsapp_agent_database_connections{state="active"}', 90, 91),
        ("whatsapp_agent_database_max_connections", 100, 100),
    ],
    "WhatsAppAgentCertificateExpires": [('whatsapp_agent_alerts{rule="certificate_expires"}', 0, 1)],
    "WhatsAppAgentPaymentMissing": [('whatsapp_agent_alerts{rule="payment_missing"}', 0, 1)],
    "WhatsAppAgentAccountLimited": [('whatsapp_agent_alerts{rule="account_limited"}', 0, 1)],
    "WhatsAppAgentNumberStopped": [('whatsapp_agent_alerts{rule="number_stopped"}', 0, 1)],
    "WhatsAppAgentQuotaUsedUp": [('whatsapp_agent_alerts{rule="quota_used_up"}', 0, 1)],
}  # fmt: skip
COUNTERS = {
    "WhatsAppAgentTurnsFail": 'whatsapp_agent_turns_total{outcome="failed"}',
    "WhatsAppAgentSendsFail": 'whatsapp_agent_sends_total{result="unconfirmed"}',
    "WhatsAppAgentWebhooksFail": 'whatsapp_agent_webhook_requests_total{status="503"}',
}


def series_of(name: str) -> list[dict[str, str]]:
    if name in COUNTERS:
        return [{"series": COUNTERS[name], "values": "0+0x1 0+1x13 14+0x40"}]
    return [{"series": series, "values": f"{good}x1 {bad}x13 {good}x40"} for series, good, bad in GAUGES[name]]


def expect(name: str, at: str, *, firing: int) -> dict[str, object]:
    samples = [{"labels": "{}", "value": firing}] if firing else []
    query = f'count(ALERTS{{alertname="{name}",alertstate="firing"}})'
    return {"expr": query, "eval_time": at, "exp_samples": samples}


def test_every_rule_is_tried_here():
    assert sorted([*GAUGES, *COUNTERS]) == sorted(NAMES)


@pytest.mark.skipif(not shutil.which("promtool"), reason="SKIPPED: promtool is not installed (apt install prometheus)")
@pytest.mark.parametrize("name", NAMES)
def test_an_alert_fires_and_recovers(name: str, tmp_path: Path):
    tried = {
        "interval": "1m",
        "input_series": series_of(name),
        "promql_expr_test": [
            expect(name, "1m", firing=0), expect(name, FIRING_AT, firing=1), expect(name, RECOVERED_AT, firing=0)
        ],
    }  # fmt: skip
    file = tmp_path / "rules_test.yml"  # JSON is YAML, too
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [tried]}))

    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
