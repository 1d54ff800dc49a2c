"""compose.yaml, the Dockerfile and the systemd units: what holds of them without running them."""

import json
import os
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from django.core.management import get_commands
from django.urls import resolve
from jsonschema import Draft202012Validator

from tests.support.application import ROOT, SECRETS

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
KNOWN = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))


def instructions(name: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.partition(" ")[2].strip() for line in joined.splitlines() if line.startswith(f"{name} ")]


def test_the_file_is_what_the_compose_specification_describes() -> None:
    """The schema is that of https://github.com/compose-spec/compose-spec (Apache License 2.0), November 2026."""
    schema = json.loads((ROOT / "tests" / "payloads" / "compose" / "compose-spec.json").read_text())
    validator = Draft202012Validator(schema)
    assert [f"{list(error.path)}: {error.message}" for error in validator.iter_errors(COMPOSE)] == []
    assert not validator.is_valid(COMPOSE | {"services": {"web": {"image": "whatsapp-agent", "restarts": "always"}}})


@pytest.mark.parametrize("name", ["agent", "web", "worker"])
def test_our_settings_accept_what_a_service_is_given(name: str, tmp_path: Path) -> None:
    given = {"POSTGRES_PASSWORD": "letters", "WHATSAPP_WEBHOOK_SECRET": "s" * 20} | SECRETS
    environment = {
        variable: re.sub(r"\$\{([A-Z_]+):-([^}]*)\}", lambda found: given.get(found[1], found[2]), str(value))
        for variable, value in SERVICES[name]["environment"].items()
    }
    environment |= {"DATA_DIR": str(tmp_path / "data"), "STATIC_ROOT": str(tmp_path / "static")}
    own = {variable: value for variable, value in os.environ.items() if variable not in {*KNOWN, *SECRETS}}
    done = subprocess.run(
        [sys.executable, "manage.py", "help"], cwd=ROOT, env=own | SECRETS | environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    wrong = environment | {"PORT": "http"}
    refused = subprocess.run(
        [sys.executable, "manage.py", "help"], cwd=ROOT, env=own | SECRETS | wrong, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert "PORT is 'http'; it must be a whole number" in refused.stderr


def test_nothing_but_the_web_port_is_published_and_that_on_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {name: ["${PUBLISH:-127.0.0.1:8000}:8000"] for name in ("agent", "web")}
    assert not [name for name, service in SERVICES.items() if service.get("network_mode") or service.get("privileged")]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_starts_by_its_profile_and_again_when_it_ends(name: str) -> None:
    service = SERVICES[name]
    assert len(service["profiles"]) == 1
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize(
    ("profile", "services"),
    [
        ("plain", {"agent"}),
        ("scale", {"web", "worker", "database", "redis"}),
        ("waha", {"waha"}),
        ("evolution", {"evolution", "evolution-database"}),
        ("zapw", {"zapw"}),
    ],
)
def test_a_profile_is_complete(profile: str, services: set[str]) -> None:
    assert {name for name, service in SERVICES.items() if service["profiles"] == [profile]} == services
    wanted = {needed for name in services for needed in SERVICES[name].get("depends_on", {})}
    assert wanted <= services


@pytest.mark.parametrize("name", [name for name in SERVICES if "depends_on" in SERVICES[name]])
def test_a_service_waits_until_what_it_needs_is_healthy(name: str) -> None:
    for needed, how in SERVICES[name]["depends_on"].items():
        assert how == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[needed] or ("build" in SERVICES[needed] and instructions("HEALTHCHECK"))


# What the contracts of the bridges name (docs/bridges/, and the pages that they link): port, where health is asked, and
# the variables that have to be set.
BRIDGES = {
    "waha": (3000, "/ping", {"WAHA_API_KEY": "${WHATSAPP_API_KEY:-}", "WHATSAPP_DEFAULT_ENGINE": "GOWS"}),
    "evolution": (
        8080,
        "/",
        {
            "AUTHENTICATION_API_KEY": "${WHATSAPP_API_KEY:-}",
            "DATABASE_SAVE_DATA_INSTANCE": "true",
            "DATABASE_SAVE_DATA_NEW_MESSAGE": "true",
            "DATABASE_SAVE_MESSAGE_UPDATE": "true",
        },
    ),
    "zapw": (3000, "/health", {"API_KEY": "${WHATSAPP_API_KEY:-}", "ENABLE_WEBHOOK": "true"}),
}


@pytest.mark.parametrize("name", BRIDGES)
def test_a_bridge_is_reached_and_reaches_us_where_its_page_says(name: str) -> None:
    port, health, variables = BRIDGES[name]
    page = (ROOT / "docs" / "bridges" / f"{name}.md").read_text()
    service = SERVICES[name]
    assert service["environment"] | variables == service["environment"]
    assert f"fetch('http://127.0.0.1:{port}{health}')" in service["healthcheck"]["test"][-1]
    assert f"WHATSAPP_API_URL=http://{name}:{port}" in page
    for profiles in re.findall(r"COMPOSE_PROFILES=([a-z,]+)", page):
        assert set(profiles.split(",")) <= {each["profiles"][0] for each in SERVICES.values()}
    ours = {"agent", *SERVICES["web"]["networks"]["default"]["aliases"]}
    addresses = re.findall(r"PUBLIC_URL=(\S+)", page) or [service["environment"]["WEBHOOK_URL"]]
    for address in map(urlsplit, addresses):
        assert address.hostname in ours
        assert address.port == SERVICES["agent"]["environment"]["PORT"]


def test_the_webhook_address_that_zapw_is_given_is_ours() -> None:
    address = urlsplit(SERVICES["zapw"]["environment"]["WEBHOOK_URL"].replace("${WHATSAPP_WEBHOOK_SECRET:-}", "x" * 20))
    assert resolve(address.path).kwargs == {"slug": "default", "secret": "x" * 20}


@pytest.mark.parametrize(
    "name", [name for name in SERVICES if "image" in SERVICES[name] and "build" not in SERVICES[name]]
)
def test_an_image_has_the_tag_of_a_version(name: str) -> None:
    tag = SERVICES[name]["image"].partition(":")[2]
    assert re.search(r"\d", tag) or name == "zapw", "zapw publishes `latest` alone, as the file says"


def test_no_secret_stands_in_the_file() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|KEY|SECRET|TOKEN", variable):
                assert re.fullmatch(r"\$\{[A-Z_]+:-\}", str(value)), f"{name}: {variable}"
    assert not re.search(r"://\w+:\w+@", (ROOT / "compose.yaml").read_text())


def test_every_variable_of_the_file_is_documented() -> None:
    page = (ROOT / "docs" / "containers.md").read_text()
    used = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "compose.yaml").read_text()))
    assert {name for name in used if name not in KNOWN and f"`{name}`" not in page} == set()


@pytest.mark.parametrize("name", ["agent", "web", "worker"])
def test_our_services_are_given_settings_that_exist_and_time_to_end(name: str) -> None:
    service = SERVICES[name]
    assert set(service["environment"]) <= KNOWN
    assert service["stop_grace_period"] == "30s"
    assert service["env_file"] == ".env"
    assert "files:/srv/agent/data" in service["volumes"]
    assert service.get("command", ["up"])[0] in get_commands()


def test_the_image_runs_as_a_user_of_its_own_and_reports_its_health() -> None:
    assert len(instructions("FROM")) == 2
    assert DOCKERFILE.index("\nUSER agent") < DOCKERFILE.index("\nENTRYPOINT")
    assert "USER root" not in DOCKERFILE
    (check,) = instructions("HEALTHCHECK")
    assert "/health/" in check
    given = {pair.partition("=")[0] for line in instructions("ENV") for pair in line.split()}
    assert given - {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"} - KNOWN <= {
        "PIP_NO_CACHE_DIR",
        "PIP_DISABLE_PIP_VERSION_CHECK",
    }


def test_no_secret_and_no_data_goes_into_the_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".env", ".data*", ".git", ".venv"} <= set(ignored)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_systemd_unit_runs_a_command_that_exists_and_lets_it_end(path: Any) -> None:
    unit = ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(path)
    service = unit["Service"]
    assert service["ExecStart"].split()[1] in get_commands()
    assert (service["KillMode"], service["User"]) == ("mixed", "whatsapp-agent")
    assert int(service["TimeoutStopSec"]) >= 40
    assert {pair.partition("=")[0] for pair in service["Environment"].split()} - {"PYTHONUNBUFFERED"} <= KNOWN
