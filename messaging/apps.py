from importlib import import_module

from django.apps import AppConfig
from django.utils.translation import gettext_lazy


class MessagingConfig(AppConfig):
    name = "messaging"
    verbose_name = gettext_lazy("Messaging")

    def ready(self) -> None:
        """Provide `sessions_app` with the counts of what the platforms charge for, and with their accounts we know."""
        import_module("messaging.pricing")
        import_module("messaging.whatsapp_templates.service")
