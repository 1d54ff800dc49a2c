"""The models of the app; each module holds one area, and everything is importable from here."""

from messaging.models.contacts import Contact, ContactAlias, ContactQuerySet
from messaging.models.conversations import STATUSES, Conversation, ConversationQuerySet, Note, NoteQuerySet
from messaging.models.events import CurrentTransaction, DailyRun, Event, EventQuerySet, webhook_id_of
from messaging.models.knowledge import Knowledge, KnowledgePart, KnowledgeQuerySet
from messaging.models.library import LibraryFile, LibraryFileQuerySet
from messaging.models.memory import Fact, Summary
from messaging.models.merges import ContactMerge, ContactMergeQuerySet
from messaging.models.messages import (
    CallEvent,
    EarlyChange,
    EarlyReceipt,
    HeldMessage,
    Media,
    MediaQuerySet,
    Message,
    MessageQuerySet,
    media_path,
)
from messaging.models.search import Embedding, EmbeddingModel, Real, SearchEntry, UnembeddedMessage, UnindexedMessage
from messaging.models.teamwork import (
    SHORTCUT_PATTERN,
    Correction,
    MailedConversation,
    Presence,
    SavedReply,
    SavedReplyQuerySet,
)
from messaging.models.templates import MessageTemplate, MessageTemplateQuerySet
from messaging.models.turns import ToolCall, Turn, TurnQuerySet
from messaging.models.webhooks import (
    WebhookAttempt,
    WebhookDelivery,
    WebhookDeliveryQuerySet,
    WebhookEndpoint,
    WebhookEndpointQuerySet,
)

__all__ = [
    "SHORTCUT_PATTERN",
    "STATUSES",
    "CallEvent",
    "Contact",
    "ContactAlias",
    "ContactMerge",
    "ContactMergeQuerySet",
    "ContactQuerySet",
    "Conversation",
    "ConversationQuerySet",
    "Correction",
    "CurrentTransaction",
    "DailyRun",
    "EarlyChange",
    "EarlyReceipt",
    "Embedding",
    "EmbeddingModel",
    "Event",
    "EventQuerySet",
    "Fact",
    "HeldMessage",
    "Knowledge",
    "KnowledgePart",
    "KnowledgeQuerySet",
    "LibraryFile",
    "LibraryFileQuerySet",
    "MailedConversation",
    "Media",
    "MediaQuerySet",
    "Message",
    "MessageQuerySet",
    "MessageTemplate",
    "MessageTemplateQuerySet",
    "Note",
    "NoteQuerySet",
    "Presence",
    "Real",
    "SavedReply",
    "SavedReplyQuerySet",
    "SearchEntry",
    "Summary",
    "ToolCall",
    "Turn",
    "TurnQuerySet",
    "UnembeddedMessage",
    "UnindexedMessage",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookDeliveryQuerySet",
    "WebhookEndpoint",
    "WebhookEndpointQuerySet",
    "media_path",
    "webhook_id_of",
]
