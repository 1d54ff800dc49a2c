import pkgutil
from importlib import import_module

from django.apps import AppConfig
from django.utils.translation import gettext_lazy


class CommandsConfig(AppConfig):
    name = "commands"
    verbose_name = gettext_lazy("Commands")

    def ready(self) -> None:
        """Import every module of `commands.library`: importing one declares its commands."""
        library = import_module("commands.library")
        for module in pkgutil.iter_modules(library.__path__):
            import_module(f"{library.__name__}.{module.name}")
