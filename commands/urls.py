"""`/api/v1/commands/`."""

from django.urls import path

from commands.views import CommandListView, CommandRunViewSet, routes

urlpatterns = [
    path("commands/", CommandListView.as_view(), name="command-list"),
    path("commands/runs/", CommandRunViewSet.as_view({"get": "list"}), name="run-list"),
    path("commands/runs/<uuid:pk>/", CommandRunViewSet.as_view({"get": "retrieve"}), name="run-detail"),
    *routes(),
]
