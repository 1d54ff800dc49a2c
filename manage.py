#!/usr/bin/env python3
"""Django's entry for operators: `manage.py up`, `chat`, `link_session`, `sync_sessions`, `doctor`."""

import os
import sys
from pathlib import Path

try:
    from django.core.management import execute_from_command_line
except ImportError:  # run as ./manage.py, outside .venv, where `make run` installs packages
    python = Path(__file__).resolve().parent / ".venv" / "bin" / "python"
    if not python.is_file() or Path(sys.prefix) == python.parent.parent:
        sys.exit("The packages are not installed yet. Run: make run")
    os.execv(python, [str(python), *sys.argv])  # noqa: S606

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whatsapp_agent.settings")
    try:
        execute_from_command_line(sys.argv)
    except KeyboardInterrupt:
        sys.exit(130)  # as shells do; a traceback would not help
