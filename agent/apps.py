from collections.abc import Iterator
from importlib import import_module
from typing import Any

from django.apps import AppConfig


class AgentConfig(AppConfig):
    name = "agent"
    verbose_name = "Agent"

    def ready(self) -> None:
        """Let `sessions_app` have bridges asked for missed messages; what does so is loaded only then."""
        import_module("sessions_app.links.catching_up").fetch_missed.provide(_fetch_missed)


def _fetch_missed(bridge: Any) -> Iterator[tuple[str, int | None]]:
    yield from import_module("agent.missed").fetch_missed(bridge)
