#!/usr/bin/env python3
"""Django's entry for operators: `manage.py up`, `chat`, `link_session`, `doctor`; docs/operate.md has all."""

import os
import sys
from pathlib import Path

try:
    import django
    from django.core.management import ManagementUtility, execute_from_command_line
except ImportError:  # run as ./manage.py, outside .venv, where `make run` installs packages
    python = Path(__file__).resolve().parent / ".venv" / "bin" / "python"
    if not python.is_file() or Path(sys.prefix) == python.parent.parent:
        sys.exit("The packages are not installed yet. Run: make run")
    os.execv(python, [str(python), *sys.argv])  # noqa: S606

from whatsapp_agent import env
from whatsapp_agent.postgres import embedded

# All others work with data that exists: in an empty DATA_DIR, most likely, somebody forgot to say which one.
MAY_CREATE_DATA = ("up", "link_session", "test")

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whatsapp_agent.settings")
    env.creates_data = sys.argv[1:2] != [] and sys.argv[1] in MAY_CREATE_DATA
    env.restores_data = sys.argv[1:2] == ["restore"]
    try:
        if sys.argv[1:2] == ["version"]:  # Django would print its own
            django.setup()
            ManagementUtility(sys.argv).fetch_command("version").run_from_argv(sys.argv)
        else:
            execute_from_command_line(sys.argv)
    except Exception as exc:
        if isinstance(exc.__cause__, embedded.NotStarted):
            sys.exit(f"{exc.__cause__}")
        raise
    except KeyboardInterrupt:
        sys.exit(130)  # as shells do; a traceback would not help
