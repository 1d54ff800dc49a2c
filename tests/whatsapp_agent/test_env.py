"""What the environment may set, and how mistakes are reported."""

import os
import re
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

from whatsapp_agent import logging
from whatsapp_agent.env import Environment, database

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Loaded:
    """What settings.py became: its names, or the mistakes for which it stopped."""

    settings: dict[str, Any]
    mistakes: str = ""


def load_settings(tmp_path: Path, **variables: str) -> Loaded:
    """Run settings.py in this interpreter with only `variables` in the environment."""
    given = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path / "data")} | variables
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", given)
        try:
            return Loaded(run_path(str(ROOT / "whatsapp_agent" / "settings.py")))
        except SystemExit as exc:
            return Loaded({}, mistakes=str(exc))


def load_settings_apart(tmp_path: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Load the settings in a process of their own; print one of them."""
    given = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path / "data")} | variables
    load = "from whatsapp_agent import settings; print(settings.ADMIN_PASSWORD)"
    return subprocess.run(
        [sys.executable, "-c", load], cwd=ROOT, env=given, capture_output=True, text=True, timeout=60, check=False
    )


def mistakes_of(environment: Environment) -> list[str]:
    """The lines with which a start would end."""
    try:
        environment.stop_on_mistakes()
    except SystemExit as exc:
        return [line.removeprefix("  - ") for line in str(exc).splitlines()[1:]]
    return []


def test_an_external_database_without_secrets_names_every_missing_one_at_once(tmp_path):
    loaded = load_settings(tmp_path, DATABASE_URL="postgres://agent:hush@db.example.com/agent")

    for name in ("SECRET_KEY", "ADMIN_TOKEN_SECRET"):
        assert f"- {name} is missing" in loaded.mistakes
    assert "hush" not in loaded.mistakes
    assert not (tmp_path / "data").exists()


def test_mistakes_of_several_variables_are_reported_together(tmp_path):
    wrong = {
        "PORT": "eighty",
        "WHATSAPP_BRIDGE": "pigeon",
        "AGENT_LEASE_S": "nan",
        "OPENAI_BASE_URL": "model.example.com",
        "HTTPS": "perhaps",
        "CORS_ORIGINS": "https://app.example.com/path",
        "REDIS_URL": "http://redis",
    }
    loaded = load_settings_apart(tmp_path, **wrong)

    assert loaded.returncode == 1
    for name in wrong:
        assert f"- {name} " in loaded.stderr
    assert "Traceback" not in loaded.stderr


@pytest.mark.parametrize(
    ("variables", "mistake"),
    [
        ({"PORT": "eighty"}, "PORT is 'eighty'; it must be a whole number"),
        ({"PORT": "80.5"}, "PORT is '80.5'; it must be a whole number"),
        ({"PORT": "9" * 5000}, "it must be a whole number"),
        ({"PORT": "0"}, "PORT is '0'; it must be at least 1"),
        ({"PORT": "65536"}, "PORT is '65536'; it must be at most 65535"),
        ({"SEND_GAP_S": "fast"}, "SEND_GAP_S is 'fast'; it must be a number"),
        ({"SEND_GAP_S": "nan"}, "SEND_GAP_S is 'nan'; it must be a finite number"),
        ({"SEND_GAP_S": "inf"}, "SEND_GAP_S is 'inf'; it must be a finite number"),
        ({"BRIDGE_TIMEOUT_S": "-1"}, "BRIDGE_TIMEOUT_S is '-1'; it must be at least 0.1"),
        ({"HTTPS": "perhaps"}, "HTTPS is 'perhaps'; it must be true or false"),
        ({"OPENAI_API": "Soap"}, "OPENAI_API is 'soap'; it must be one of 'chat' or 'responses'"),
        ({"SEARCH_LANGUAGES": "english, klingon"}, "SEARCH_LANGUAGES is 'klingon'; it must be one of 'arabic', "),
        ({"OPENAI_BASE_URL": "model.example.com"}, "OPENAI_BASE_URL is not a valid URL; it must look like http://"),
    ],
)
def test_an_invalid_value_is_reported_with_what_it_must_be(tmp_path, variables, mistake):
    assert mistake in load_settings(tmp_path, **variables).mistakes


@pytest.mark.parametrize("given", ["true", "ON", "Yes", "1", "y", "t"])
def test_a_boolean_is_read_in_any_usual_form(tmp_path, given):
    assert load_settings(tmp_path, HTTPS=given).settings["HTTPS"] is True


def test_a_bridge_without_its_address_is_a_mistake(tmp_path):
    assert "- WHATSAPP_API_URL is empty" in load_settings(tmp_path, WHATSAPP_BRIDGE="zapw").mistakes


def test_an_empty_environment_is_enough_and_leaves_secrets_for_the_owner_alone(tmp_path):
    loaded = load_settings(tmp_path)

    assert not loaded.mistakes
    kept = tmp_path / "data" / "secrets.env"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert f"ADMIN_PASSWORD={loaded.settings['ADMIN_PASSWORD']}\n" in kept.read_text()


def test_processes_that_start_at_once_agree_on_the_secrets_and_keep_them(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(lambda _: load_settings_apart(tmp_path).stdout.strip(), range(4)))

    assert len(set(at_once)) == 1
    assert load_settings(tmp_path).settings["ADMIN_PASSWORD"] == at_once[0] != ""


def test_a_variable_that_is_set_but_empty_counts_as_not_set(tmp_path):
    loaded = load_settings(tmp_path, ADMIN_PASSWORD="", PORT="", DATABASE_URL=" ")

    assert len(loaded.settings["ADMIN_PASSWORD"]) >= 20


def test_a_given_secret_wins_over_the_generated_one(tmp_path):
    assert load_settings(tmp_path, ADMIN_PASSWORD="$given # here").settings["ADMIN_PASSWORD"] == "$given # here"


def test_a_secret_that_is_given_is_not_generated(tmp_path):
    load_settings(tmp_path, ADMIN_PASSWORD="a given password")
    assert "ADMIN_PASSWORD" not in (tmp_path / "data" / "secrets.env").read_text()

    given = dict.fromkeys(("SECRET_KEY", "ADMIN_TOKEN_SECRET", "WHATSAPP_WEBHOOK_SECRET", "ADMIN_PASSWORD"), "k" * 50)
    assert load_settings(tmp_path / "other", **given).settings["SECRET_KEY"] == "k" * 50
    assert not (tmp_path / "other" / "data" / "secrets.env").exists()


def test_lost_secrets_are_not_replaced_where_data_exists(tmp_path):
    (tmp_path / "data" / "postgres").mkdir(parents=True)
    (tmp_path / "data" / "postgres" / "PG_VERSION").write_text("18")

    loaded = load_settings(tmp_path)
    for name in ("SECRET_KEY", "ADMIN_TOKEN_SECRET", "WHATSAPP_WEBHOOK_SECRET"):
        assert loaded.mistakes.count(f"- {name} is missing in {tmp_path / 'data' / 'secrets.env'}") == 1
    assert "Restore secrets.env from a backup" in loaded.mistakes
    assert "DATABASE_URL" not in loaded.mistakes
    assert not (tmp_path / "data" / "secrets.env").exists()

    given = dict.fromkeys(("SECRET_KEY", "ADMIN_TOKEN_SECRET", "WHATSAPP_WEBHOOK_SECRET"), "k" * 50)
    assert not load_settings(tmp_path, **given).mistakes


@pytest.mark.parametrize("host", ["%2Fvar%2FRun%2Fpostgresql", "%2fvar%2fRun%2fpostgresql"])
def test_a_database_is_reached_by_the_socket_that_its_address_names(tmp_path, host):
    url = f"postgres://agent:p%2Fw@{host}:5433/agent"
    given = database(url, data_dir=tmp_path, pool_size=2)
    assert (given["HOST"], given["PORT"], given["NAME"]) == ("/var/Run/postgresql", 5433, "agent")
    assert given["PASSWORD"] == "p/w"


def test_an_unusable_data_directory_is_reported_by_name(tmp_path):
    (tmp_path / "data").write_text("a file")

    loaded = load_settings(tmp_path)
    assert "- DATA_DIR is" in loaded.mistakes
    assert "SECRET_KEY" not in loaded.mistakes


def test_an_unreadable_data_directory_is_reported_by_name(tmp_path):
    loaded = load_settings(tmp_path, DATA_DIR=f"{tmp_path}/{'x' * 300}", PORT="no port")

    assert loaded.mistakes.count("- DATA_DIR cannot be used: ") == 1
    assert "- PORT is" in loaded.mistakes


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///db.sqlite3",
        "mysql://user:hush@host/name",
        "postgres://user:hush/hush@host/name",
        "postgres://user:hush#hush@host/name",
        "postgres://user:hush@host:port/name",
        "postgres://user:hush@host",
        "host=db password=hush",
    ],
)
def test_an_unusable_database_url_is_reported_without_its_password(url):
    env = Environment({"DATABASE_URL": url})

    assert env.database_url("DATABASE_URL") == ""
    (mistake,) = mistakes_of(env)
    assert "postgres://user:password@host" in mistake
    assert "hush" not in mistake


def test_an_unreadable_line_of_dotenv_is_reported_by_its_number(tmp_path):
    env = Environment({})
    (tmp_path / ".env").write_text("# fine\n\nexport SPELLED_WRONG=1\nhalf a secret\n")

    env.read_dotenv(tmp_path / ".env")
    assert mistakes_of(env) == [".env line 4 is not NAME=value"]
    assert env.unread_names() == ["SPELLED_WRONG"]


def test_the_example_lists_exactly_what_the_settings_read_in_the_same_order():
    settings = (ROOT / "whatsapp_agent" / "settings.py").read_text()
    read = re.findall(r'(?:env\.\w+|\bsecret)\(\s*"([A-Z_]+)"', settings.split("# --- Django ---")[0])
    example = re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)

    assert example == list(dict.fromkeys(name for name in read))


def test_the_example_is_a_valid_configuration(tmp_path):
    example = (ROOT / ".env.example").read_text()
    given = dict(line.split("=", 1) for line in example.splitlines() if line and not line.startswith("#"))

    assert not load_settings(tmp_path, **given | {"DATA_DIR": str(tmp_path / "data")}).mistakes


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("NAME=plain", "plain"),
        ("NAME=sk-key                 # OpenAI", "sk-key"),
        ("NAME=pa$$#word", "pa$$#word"),
        ("  NAME = spaced  ", "spaced"),
        ("export NAME=exported", "exported"),
        ("NAME=# not a comment", "# not a comment"),
        ("NAME= # a comment", ""),
        ("NAME='hash # \\ inside' # a comment", "hash # \\ inside"),
        (r'NAME="a \"quote\" and \\ # inside"', r'a "quote" and \ # inside'),
        ("NAME=it's", "it's"),
    ],
)
def test_dotenv_is_read_as_shells_read_it(tmp_path, line, value):
    variables: dict[str, str] = {}
    env = Environment(variables)
    (tmp_path / ".env").write_text(f"\ufeff# made with an editor that marks its files\n{line}\n", encoding="utf-8")

    env.read_dotenv(tmp_path / ".env")
    assert mistakes_of(env) == []
    assert variables == {"NAME": value}


def test_an_unclosed_quote_is_reported_and_its_value_is_not_shown(tmp_path):
    variables: dict[str, str] = {}
    env = Environment(variables)
    (tmp_path / ".env").write_text('SECRET_KEY="half a secret\n')

    env.read_dotenv(tmp_path / ".env")
    assert mistakes_of(env) == [".env line 1 is not NAME=value; a quote in it has no end"]
    assert variables == {}


def test_manage_py_finds_what_make_run_installed(tmp_path):
    shutil.copy(ROOT / "manage.py", tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "in .venv: $@"\n')
    python.chmod(0o755)

    bare = subprocess.run(
        ["/usr/bin/env", sys.executable, "-S", "manage.py", "doctor"],  # -S: as if nothing were installed
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert bare.stdout == "in .venv: manage.py doctor\n"


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("POST /api/v1/webhooks/default/a-very-secret-part/ failed", "POST /api/v1/webhooks/default/.../ failed"),
        ("Key exists\nDETAIL:  Key (phone)=(123) already\nat line 3", "Key exists\nDETAIL: ...\nat line 3"),
        ("wrong\nLINE 12: VALUES ('my secret\n        ^", "wrong\nLINE 12: ...\n        ^"),
        ("wrong\nCONTEXT:  JSON data, line 1: my secret\n", "wrong\nCONTEXT: ...\n"),
        ('invalid input syntax for type integer: "my secret"\nat', "invalid input syntax for type integer: ...\nat"),
        ("no answer from 5511988887777@s.whatsapp.net", "no answer from ...@s.whatsapp.net"),
        ("no answer from 12036304@g.us or 99887766554433:2@lid", "no answer from ...@g.us or ...:2@lid"),
        ("called +5511988887777 twice", "called +... twice"),
        (
            "01a2061e-0f82-739e-9ae5-512a6f77f791 took 1200000 ns",
            "01a2061e-0f82-739e-9ae5-512a6f77f791 took 1200000 ns",
        ),
    ],
)
def test_a_log_line_holds_no_webhook_secret_and_no_phone_number(line, kept):
    assert logging.redact(None, "info", line) == kept


@pytest.mark.parametrize("fmt", ["console", "json"])
def test_a_traceback_in_the_log_shows_no_local_variables(tmp_path, fmt):
    fail = """
import logging
import django
django.setup()
def fail():
    private_text = "a very " + "private text"
    raise ValueError("broken")
try:
    fail()
except ValueError:
    logging.getLogger("agent").exception("it broke")
"""
    given = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path / "data"), "LOG_FORMAT": fmt}
    logged = subprocess.run(
        [sys.executable, "-c", fail],
        cwd=ROOT,
        env=given | {"DJANGO_SETTINGS_MODULE": "whatsapp_agent.settings"},
        capture_output=True,
        text=True,
        check=True,
    ).stderr

    assert "it broke" in logged
    assert "ValueError" in logged
    assert "a very private text" not in logged


def test_a_request_for_another_host_is_one_line_in_the_log(tmp_path):
    ask = """
import django
django.setup()
from django.test import Client
print(Client().get("/admin/", headers={"host": "another.example"}).status_code)
"""
    given = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path)}
    given |= {"DJANGO_SETTINGS_MODULE": "whatsapp_agent.settings"}
    asked = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "DATA_DIR": str(tmp_path),
            "DJANGO_SETTINGS_MODULE": "whatsapp_agent.settings",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.stdout == "400\n", asked.stderr
    assert "You may need to add 'another.example' to ALLOWED_HOSTS" in asked.stderr
    assert "Traceback" not in asked.stderr


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('["https://a.example.com", "http://localhost:3000/"]', ["https://a.example.com", "http://localhost:3000"]),
        ("https://a.example.com, http://localhost:3000", ["https://a.example.com", "http://localhost:3000"]),
        ("*", ["*"]),
        ('["*"]', ["*"]),
        ("[]", []),
        ("", []),
    ],
)
def test_cors_origins_are_a_json_list_a_comma_separated_list_or_a_star(given, expected):
    env = Environment({"CORS_ORIGINS": given})
    assert env.origins("CORS_ORIGINS", default=["http://localhost:8080"], any_origin=True) == expected


@pytest.mark.parametrize(
    "given",
    ['["https://a.example.com"', "[1]", '[["x"]]', "a.example.com", "https://*.example.com", "http://[x", "ftp://a"],
)
def test_an_invalid_origin_is_a_mistake_with_the_name_of_the_setting(given):
    env = Environment({"CORS_ORIGINS": given})
    env.origins("CORS_ORIGINS", default=[], any_origin=True)
    with pytest.raises(SystemExit, match="CORS_ORIGINS"):
        env.stop_on_mistakes()


def test_a_star_is_refused_as_a_trusted_origin_of_the_admin():
    env = Environment({"CSRF_TRUSTED_ORIGINS": "*"})
    env.origins("CSRF_TRUSTED_ORIGINS", default=[])
    with pytest.raises(SystemExit, match="CSRF_TRUSTED_ORIGINS"):
        env.stop_on_mistakes()


def test_an_external_database_needs_neither_a_webhook_secret_nor_a_password(tmp_path):
    loaded = load_settings(
        tmp_path, DATABASE_URL="postgres://agent:hush@db/agent", SECRET_KEY="k" * 50, ADMIN_TOKEN_SECRET="t" * 50
    )

    assert (loaded.mistakes, loaded.settings["ADMIN_PASSWORD"]) == ("", "")


def test_a_short_webhook_secret_is_a_mistake(tmp_path):
    loaded = load_settings(tmp_path, WHATSAPP_WEBHOOK_SECRET="short")

    assert "WHATSAPP_WEBHOOK_SECRET is too short" in loaded.mistakes


@pytest.mark.parametrize(
    ("variables", "zone"),
    [
        ({"TIME_ZONE": "America/Sao_Paulo"}, "America/Sao_Paulo"),
        ({"TZ": "Asia/Kolkata"}, "Asia/Kolkata"),
        ({"TZ": ":Asia/Kolkata", "TIME_ZONE": ""}, "Asia/Kolkata"),
        ({"TZ": "Asia/Kolkata", "TIME_ZONE": "Europe/Lisbon"}, "Europe/Lisbon"),
        ({"TZ": "Etc/UTC"}, "UTC"),
    ],
)
def test_the_time_zone_is_the_one_given_or_that_of_the_machine(tmp_path, variables, zone):
    assert load_settings(tmp_path, **variables).settings["TIME_ZONE"] == zone


def test_an_unknown_time_zone_is_a_mistake(tmp_path):
    loaded = load_settings(tmp_path, TIME_ZONE="Brasilia")

    assert "- TIME_ZONE is 'Brasilia'" in loaded.mistakes


@pytest.mark.parametrize("name", ["WHATSAPP_API_KEY", "WHATSAPP_SIGNING_KEY"])
def test_the_cloud_api_needs_its_token_and_the_app_secret_but_no_address(tmp_path, name):
    complete = {"WHATSAPP_BRIDGE": "cloud", "WHATSAPP_API_KEY": "token", "WHATSAPP_SIGNING_KEY": "app secret"}

    assert f"- {name} is empty" in load_settings(tmp_path, **(complete | {name: ""})).mistakes
    assert load_settings(tmp_path, **complete).mistakes == ""
