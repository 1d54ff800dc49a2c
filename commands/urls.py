"""`/api/v1/commands/`."""

from rest_framework.routers import Route, SimpleRouter

from commands.views import CommandRunViewSet, CommandViewSet


class CommandRouter(SimpleRouter):
    """A command is run by a POST to its own route."""

    routes = [
        Route("^{prefix}{trailing_slash}$", {"get": "list"}, "{basename}-list", detail=False, initkwargs={}),
        Route(
            "^{prefix}/{lookup}{trailing_slash}$",
            {"get": "retrieve", "post": "create"},
            "{basename}-detail",
            detail=True,
            initkwargs={},
        ),
    ]


runs = SimpleRouter()
runs.register("commands/runs", CommandRunViewSet, basename="run")

commands = CommandRouter()
commands.register("commands", CommandViewSet, basename="command")

urlpatterns = [*runs.urls, *commands.urls]
