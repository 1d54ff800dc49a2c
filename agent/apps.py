import gc
from collections.abc import Iterator
from typing import TYPE_CHECKING

from django.apps import AppConfig
from django.utils.translation import gettext_lazy

if TYPE_CHECKING:
    from sessions_app.models import Bridge


class AgentConfig(AppConfig):
    name = "agent"
    verbose_name = gettext_lazy("Agent")

    def ready(self) -> None:
        """Let `sessions_app` have bridges asked for missed messages."""
        from sessions_app.links import catching_up  # imports models, which cannot be imported before

        catching_up.fetch_missed.provide(_fetch_missed)
        gc.enable()  # all is loaded, ours is the last app; whatsapp_agent.__main__ has disabled it


def _fetch_missed(bridge: "Bridge") -> Iterator[tuple[str, int | None]]:
    from agent.missed import fetch_missed  # few processes need what it loads

    return fetch_missed(bridge)
