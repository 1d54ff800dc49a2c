from importlib import import_module

from django.apps import AppConfig
from django.utils.translation import gettext_lazy


class SessionsAppConfig(AppConfig):
    name = "sessions_app"
    verbose_name = gettext_lazy("Numbers")

    def ready(self) -> None:
        """Provide `agent.llm` with a store for what it finds out about models; declare the periodic work."""
        import_module("sessions_app.model_limits")
        import_module("sessions_app.links.reconciliation")
