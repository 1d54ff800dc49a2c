"""The pages of the phone simulator, under /simulator/."""

from django.urls import path

from agent import simulator

urlpatterns = [
    path("", simulator.page, name="simulator"),
    path("sessions/", simulator.sessions, name="simulator-sessions"),
    path("sessions/<uuid:session_id>/contacts/", simulator.contacts, name="simulator-contacts"),
    path("sessions/<uuid:session_id>/events/", simulator.events, name="simulator-events"),
    path("conversations/<uuid:conversation_id>/", simulator.conversation, name="simulator-conversation"),
]
