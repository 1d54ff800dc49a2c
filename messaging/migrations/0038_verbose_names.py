"""Names of models and fields that people read, to be translated."""

from django.db import migrations

from whatsapp_agent.postgres.names import SetVerboseNames

NAMES = {
    "contactalias": {
        "": ("contact alias", "contact aliases"), "contact": "contact", "created_at": "created at", "kind": "kind",
        "session": "number", "value": "value",
    },
    "contactmerge": {
        "": ("contact merge", "contact merges"), "contact": "contact", "created_at": "created at",
        "decided_at": "decided at", "decided_by": "decided by", "merged_id": "merged id",
        "merged_name": "merged name", "merged_phone": "merged phone", "reason": "reason", "session": "number",
        "status": "status", "undo": "undo", "undone_at": "undone at", "undone_by": "undone by",
    },
    "earlyreceipt": {
        "": ("early receipt", "early receipts"), "at": "at", "created_at": "created at", "error": "error",
        "error_code": "error code", "pricing": "pricing", "provider_message_id": "provider message id",
        "session": "number", "status": "status",
    },
    "event": {
        "": ("event", "events"), "at": "at", "conversation_id": "conversation id", "data": "data",
        "session_id": "session id", "type": "type", "user_id": "user id",
    },
    "fact": {
        "": ("fact", "facts"), "contact": "contact", "corrects": "corrects", "created_at": "created at",
        "forgotten_at": "forgotten at", "message": "message", "noted_by": "noted by", "proposed_by": "proposed by",
        "text": "text",
    },
    "libraryfile": {
        "": ("library file", "library files"), "agent_profile": "agent profile", "changed_by": "changed by",
        "created_at": "created at", "description": "description", "file": "file", "filename": "filename",
        "kind": "kind", "mime_type": "mime type", "name": "name", "size_bytes": "size bytes",
    },
    "media": {
        "": ("media", "media"), "created_at": "created at", "downloadable": "downloadable", "error": "error",
        "error_code": "error code", "expires_at": "expires at", "extract": "extract", "file": "file",
        "filename": "filename", "message": "message", "mime_type": "mime type", "next_try_at": "next try at",
        "ref": "ref", "size_bytes": "size bytes", "status": "status", "transcript": "transcript", "tries": "tries",
    },
    "messagetemplate": {
        "": ("message template", "message templates"), "account": "account", "body": "body", "category": "category",
        "language": "language", "name": "name", "placeholders": "placeholders", "session": "number",
        "status": "status", "synced_at": "synced at", "unsupported": "unsupported",
    },
    "summary": {
        "": ("summary", "summaries"), "conversation": "conversation", "created_at": "created at",
        "is_plain": "is plain", "text": "text", "until": "until", "version": "version",
    },
    "toolcall": {
        "": ("tool call", "tool calls"), "arguments": "arguments", "call_id": "call id", "created_at": "created at",
        "duration_ms": "duration ms", "error": "error", "name": "name", "position": "position", "result": "result",
        "status": "status", "turn": "turn",
    },
    "turn": {
        "": ("turn", "turns"), "agent_profile": "agent profile", "cached_tokens": "cached tokens",
        "completion_tokens": "completion tokens", "conversation": "conversation", "created_at": "created at",
        "model": "model", "model_ms": "model ms", "outcome": "outcome", "profile_version": "profile version",
        "prompt_tokens": "prompt tokens", "reason": "reason", "started_at": "started at", "steps": "steps",
        "tries": "tries", "used": "used",
    },
    "webhookattempt": {
        "": ("webhook attempt", "webhook attempts"), "answer": "answer", "at": "at", "delivery": "delivery",
        "duration_ms": "duration ms", "error": "error", "status_code": "status code",
    },
    "webhookdelivery": {
        "": ("webhook delivery", "webhook deliveries"), "created_at": "created at", "delivered_at": "delivered at",
        "endpoint": "endpoint", "event": "event", "next_try_at": "next try at", "status": "status", "tries": "tries",
        "type": "type",
    },
    "webhookendpoint": {
        "": ("webhook endpoint", "webhook endpoints"), "all_sessions": "all sessions", "created_at": "created at",
        "description": "description", "disabled_at": "disabled at", "disabled_reason": "disabled reason",
        "failing_since": "failing since", "failures": "failures", "is_enabled": "is enabled",
        "last_success_at": "last success at", "lease_expires_at": "lease expires at", "next_try_at": "next try at",
        "owner": "owner", "sessions": "sessions", "types": "types", "updated_at": "updated at", "url": "url",
    },
    "contact": {
        "bridge_name": "bridge name", "created_at": "created at", "is_allowed": "is allowed",
        "is_blocked": "is blocked", "is_group": "is group", "name": "name", "phone": "phone",
    },
    "conversation": {
        "address": "address", "assigned_to": "assigned to", "attention_note": "attention note",
        "attention_reason": "attention reason", "contact": "contact", "context_from": "context from",
        "control": "control", "control_reason": "control reason", "control_until": "control until",
        "controlled_by": "controlled by", "created_at": "created at", "done_at": "done at",
        "done_reason": "done reason", "due_at": "due at", "labels": "labels", "last_message_at": "last message at",
        "lease_expires_at": "lease expires at", "needs_attention": "needs attention", "retry_at": "retry at",
        "snoozed_until": "snoozed until", "summary": "summary", "tries": "tries", "unread_count": "unread count",
    },
    "knowledge": {
        "agent_profile": "agent profile", "changed_by": "changed by", "created_at": "created at",
        "is_enabled": "is enabled", "kind": "kind", "text": "text", "title": "title", "updated_at": "updated at",
    },
    "message": {
        "address": "address", "author": "author", "conversation": "conversation", "created_at": "created at",
        "delivered_at": "delivered at", "details": "details", "direction": "direction", "edited_at": "edited at",
        "error": "error", "error_code": "error code", "kind": "kind", "next_try_at": "next try at",
        "provider_message_id": "provider message id", "quoted": "quoted", "quoted_provider_id": "quoted provider id",
        "read_at": "read at", "revoked_at": "revoked at", "said_at": "said at", "sender": "sender",
        "sending_at": "sending at", "sent_at": "sent at", "sent_by": "sent by", "status": "status", "text": "text",
        "tries": "tries", "turn": "turn", "unanswered": "unanswered", "written_at": "written at",
    },
    "savedreply": {
        "created_at": "created at", "shortcut": "shortcut", "text": "text", "updated_at": "updated at",
    },
}  # fmt: skip


class Migration(migrations.Migration):
    dependencies = [("messaging", "0037_look_up_phones")]

    operations = [SetVerboseNames(NAMES)]
