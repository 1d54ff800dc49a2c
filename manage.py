#!/usr/bin/env python3
"""Django's entry for operators: `manage.py up`, `chat`, `link_session`, `doctor`; docs/operate.md has all."""

import os
import signal
import sys
from pathlib import Path

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while modules are loaded: no traceback; main() changes it

try:
    import django  # noqa: F401
except ImportError:  # run as ./manage.py, outside .venv, where `make run` installs packages
    python = Path(__file__).resolve().parent / ".venv" / "bin" / "python"
    if not python.is_file() or Path(sys.prefix) == python.parent.parent:
        sys.exit("The packages are not installed yet. Run: make run")
    os.execv(python, [str(python), *sys.argv])  # noqa: S606

from whatsapp_agent.__main__ import main

if __name__ == "__main__":
    main()
