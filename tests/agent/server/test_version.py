"""`manage.py version`: our own, not Django's."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

from tests.support.application import ROOT, SECRETS
from whatsapp_agent.version import VERSION


@pytest.mark.django_db
def test_the_version_of_project_and_database_is_printed():
    out = io.StringIO()
    call_command("version", "--json", stdout=out)
    report = json.loads(out.getvalue())
    assert report["version"] == VERSION
    assert report["postgresql"]
    assert report["pending_migrations"] == 0


def test_manage_py_version_prints_our_version_without_a_database(tmp_path: Path):
    environment = os.environ | SECRETS | {"DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "manage.py", "version"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert f"WhatsApp Agent {VERSION}" in done.stdout
    assert "cannot be reached" in done.stdout
