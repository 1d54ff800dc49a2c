"""The table of alerts in docs/operate.md has every alert, each with a recipe that exists."""

import re
from pathlib import Path
from typing import NamedTuple

from agent.monitoring.alert_rules import RULES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operate.md").read_text()
TABLE = PAGE.partition("| alert | Prometheus | recipe |")[2].partition("\n\n")[0]
RULES_FILE = (ROOT / "deploy" / "prometheus" / "whatsapp-agent.rules.yml").read_text()
RUNBOOKS = dict(re.findall(r'alert: (\w+)\n(?:(?!.*alert:).*\n)*?.*runbook: "docs/operate\.md#([^"]+)"', RULES_FILE))


class Row(NamedTuple):
    rules: list[str]
    prometheus: list[str]
    anchor: str


def rows() -> list[Row]:
    cells = [line.strip("|").split("|") for line in TABLE.splitlines() if line.startswith("| ") and "---" not in line]
    names = re.compile(r"`(\w+)`")
    return [Row(names.findall(a), names.findall(b), re.findall(r"\(#([^)]+)\)", c)[0]) for a, b, c in cells]


def anchors() -> set[str]:
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_table_has_every_alert_of_the_application_once() -> None:
    assert sorted(name for row in rows() for name in row.rules) == sorted(rule.name for rule in RULES)


def test_the_table_has_every_alert_of_prometheus_once_with_the_recipe_that_its_rule_names() -> None:
    assert len(RUNBOOKS) == RULES_FILE.count("- alert:")
    assert {name: row.anchor for row in rows() for name in row.prometheus} == RUNBOOKS
    assert sum(len(row.prometheus) for row in rows()) == len(RUNBOOKS)


def test_each_row_names_an_alert_of_prometheus_and_a_recipe_that_exists() -> None:
    assert [row for row in rows() if not row.prometheus or row.anchor not in anchors()] == []


def test_every_alert_of_the_application_is_in_the_table_of_monitoring() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    assert [rule.name for rule in RULES if f"\n| `{rule.name}` |" not in page] == []
