#!/usr/bin/env python
"""Django's entry for operators: `manage.py up`, `chat`, `link_session`, `sync_sessions`, `doctor`."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whatsapp_agent.settings")
    try:
        execute_from_command_line(sys.argv)
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell says it; a traceback would tell nothing
