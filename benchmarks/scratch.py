"""An embedded PostgreSQL of one's own, migrated, and gone when the program ends. Import it before any model."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import django
from django.core.management import call_command

_directory = tempfile.mkdtemp(prefix="benchmark-")
POSTGRES = Path(_directory) / "postgres"  # the server's data directory
atexit.register(shutil.rmtree, _directory, ignore_errors=True)  # runs after the server's own end, which is noted later
os.environ |= {"DATA_DIR": _directory, "DATABASE_URL": "", "DJANGO_SETTINGS_MODULE": "whatsapp_agent.settings"}
os.environ.setdefault("LOG_LEVEL", "WARNING")
django.setup()
call_command("migrate", verbosity=0)
