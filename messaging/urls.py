"""Routes of `/api/v1/`: contacts, conversations, messages, media, turns, events and webhooks."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from messaging.contacts.views import ContactMergeViewSet, ContactViewSet
from messaging.events.views import EventFeed
from messaging.knowledge.views import KnowledgeViewSet
from messaging.library.views import LibraryFileViewSet
from messaging.teamwork.views import NoteDetailViewSet, NoteViewSet, SavedReplyViewSet
from messaging.views import (
    ConversationMessagesViewSet,
    ConversationViewSet,
    MediaViewSet,
    MessageViewSet,
    TurnViewSet,
)
from messaging.webhooks.views import DeliveryViewSet, EndpointViewSet
from messaging.whatsapp_templates.views import TemplateViewSet

router = SimpleRouter()
router.register("contacts", ContactViewSet, basename="contact")
router.register("contact-merges", ContactMergeViewSet, basename="merge")
router.register("conversations", ConversationViewSet, basename="conversation")
router.register("knowledge", KnowledgeViewSet, basename="knowledge")
router.register("library-files", LibraryFileViewSet, basename="library-file")
router.register("media", MediaViewSet, basename="media")
router.register("messages", MessageViewSet, basename="message")
router.register("notes", NoteDetailViewSet, basename="note")
router.register("saved-replies", SavedReplyViewSet, basename="saved-reply")
router.register("templates", TemplateViewSet, basename="template")
router.register("webhook-endpoints", EndpointViewSet, basename="webhook-endpoint")
router.register("webhook-deliveries", DeliveryViewSet, basename="webhook-delivery")
router.register("turns", TurnViewSet, basename="turn")

urlpatterns = [
    path(
        "conversations/<uuid:conversation_id>/messages/",
        ConversationMessagesViewSet.as_view({"get": "list", "post": "create"}),
        name="conversation-messages",
    ),
    path(
        "conversations/<uuid:conversation_id>/notes/",
        NoteViewSet.as_view({"get": "list", "post": "create"}),
        name="conversation-notes",
    ),
    path("events/", EventFeed.as_view(), name="events"),
    *router.urls,
]
