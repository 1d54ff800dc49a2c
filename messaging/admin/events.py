"""The event feed, and receipts that came before their message."""

from django.contrib import admin
from unfold.admin import ModelAdmin

from accounts.admin_pages import AdministratorOnlyAdmin, FastChangeList, ReadOnlyAdmin
from messaging.models import EarlyReceipt, Event


@admin.register(EarlyReceipt)
class EarlyReceiptAdmin(ReadOnlyAdmin, AdministratorOnlyAdmin, FastChangeList, ModelAdmin):
    list_display = ["created_at", "session", "provider_message_id", "status", "at"]
    list_select_related = ["session"]
    ordering = ["-id"]


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin, AdministratorOnlyAdmin, FastChangeList, ModelAdmin):
    list_display = ["id", "at", "type", "session_id", "conversation_id"]
    ordering = ["-id"]
