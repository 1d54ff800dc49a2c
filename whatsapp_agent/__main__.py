"""The command `whatsapp-agent`, and manage.py: Django's management commands, and `run`, another name for `up`."""

import os
import sys

from django.core.management import ManagementUtility, execute_from_command_line

from whatsapp_agent import env

# All others work with data that exists: in an empty DATA_DIR, most likely, somebody forgot to say which one.
MAY_CREATE_DATA = ("up", "link_session", "test")


def main() -> None:
    """Run the management command of the command line."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whatsapp_agent.settings")
    command = sys.argv[1:2]
    if command == ["run"]:
        sys.argv[1:2] = command = ["up"]
    env.creates_data = command != [] and command[0] in MAY_CREATE_DATA
    env.restores_data = command == ["restore"]
    try:
        if command == ["version"]:  # Django would print its own
            import django

            django.setup()
            ManagementUtility(sys.argv).fetch_command("version").run_from_argv(sys.argv)
        else:
            execute_from_command_line(sys.argv)
    except Exception as exc:
        from whatsapp_agent.postgres import embedded

        if isinstance(exc.__cause__, embedded.NotStarted):
            sys.exit(f"{exc.__cause__}")
        raise
    except KeyboardInterrupt:
        sys.exit(130)  # as shells do; a traceback would not help


if __name__ == "__main__":
    main()
