"""Routes of the phone simulator, under /simulator/."""

from django.urls import path

from agent.simulator import views

urlpatterns = [
    path("", views.page, name="simulator"),
    path("sessions/", views.sessions, name="simulator-sessions"),
    path("sessions/<uuid:session_id>/contacts/", views.contacts, name="simulator-contacts"),
    path("sessions/<uuid:session_id>/events/", views.events, name="simulator-events"),
    path("sessions/<uuid:session_id>/files/", views.files, name="simulator-files"),
    path("conversations/<uuid:conversation_id>/", views.conversation, name="simulator-conversation"),
]
