"""Names of models and fields that people read, to be translated."""

from django.db import migrations

from whatsapp_agent.postgres.names import SetVerboseNames

NAMES = {
    "bridge": {
        "": ("bridge", "bridges"), "api_key": "api key", "base_url": "base url", "created_at": "created at",
        "kind": "kind", "signing_key": "signing key", "slug": "slug", "synced_at": "synced at",
        "verify_token": "verify token", "webhook_secret": "webhook secret",
    },
    "membership": {
        "": ("membership", "memberships"), "session": "number", "user": "user",
    },
    "modellimit": {
        "": ("model limit", "model limits"), "address": "address", "found_at": "found at", "model": "model",
        "name": "name", "value": "value",
    },
    "agentprofile": {
        "answers_with_voice": "answers with voice", "created_at": "created at", "debounce_max_s": "debounce max s",
        "debounce_s": "debounce s", "fallback_text": "fallback text", "history_tokens": "history tokens",
        "instant_reaction": "instant reaction", "instructions": "instructions", "is_default": "is default",
        "loop_fast_replies": "loop fast replies", "loop_max_turns": "loop max turns", "loop_pause_s": "loop pause s",
        "loop_repeats": "loop repeats", "loop_window_s": "loop window s", "marks_read": "marks read",
        "max_answer_age_s": "max answer age s", "max_output_tokens": "max output tokens",
        "missed_call_text": "missed call text", "model": "model", "name": "name", "purpose": "purpose",
        "shows_typing": "shows typing", "takeover_s": "takeover s", "temperature": "temperature", "tools": "tools",
        "updated_at": "updated at", "version": "version", "voice_fallback_text": "voice fallback text",
    },
    "whatsappsession": {
        "access_policy": "access policy", "agent_profile": "agent profile", "bridge": "bridge",
        "created_at": "created at", "display_name": "display name", "ended_at": "ended at",
        "group_policy": "group policy", "linked_at": "linked at", "members": "members", "name": "name",
        "owner_phone": "owner phone", "phone": "phone", "send_rate_per_minute": "send rate per minute",
        "status": "status", "status_changed_at": "status changed at", "status_reason": "status reason",
        "time_zone": "time zone",
    },
}  # fmt: skip


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0020_former_webhook_secret")]

    operations = [SetVerboseNames(NAMES)]
