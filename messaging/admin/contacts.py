"""Contacts and the facts known about them."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from accounts.admin_pages import FastChangeList, OperatorAdmin, ReadOnlyAdmin
from messaging.admin.shared import ContactMatchAdmin, link_to
from messaging.history.facts import forget
from messaging.models import Contact, ContactAlias, Fact
from messaging.people.admin import PersonPages
from sessions_app.admin import SessionScopedAdmin, VisibleSessionsFilter


class AliasInline(ReadOnlyAdmin, TabularInline):
    model = ContactAlias
    fields = readonly_fields = ["kind", "value", "created_at"]
    ordering = ["created_at"]
    extra = 0
    verbose_name_plural = "aliases"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return True  # the contact's page has checked it


class FactInline(ReadOnlyAdmin, TabularInline):
    model = Fact
    fields = readonly_fields = ["text", "proposed_by", "noted_by", "message", "forgotten_at", "created_at"]
    ordering = ["-created_at"]
    extra = 0
    per_page = 50
    show_change_link = True
    verbose_name_plural = "facts"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return True  # the contact's page has checked it

    def get_queryset(self, request: HttpRequest) -> QuerySet[Fact]:
        return super().get_queryset(request).select_related("noted_by").defer("message__text")


@admin.register(Contact)
class ContactAdmin(PersonPages, ContactMatchAdmin, OperatorAdmin, SessionScopedAdmin, FastChangeList, ModelAdmin):
    list_display = ["__str__", "phone", "session", "is_group", "is_blocked", "is_allowed", "created_at"]
    list_select_related = ["session"]
    list_filter = [("session", VisibleSessionsFilter), "is_group", "is_blocked", "is_allowed"]
    ordering = ["-id"]  # ids grow with time and are indexed
    fields = [
        "is_blocked", "is_allowed", "conversation_link", "name", "bridge_name", "phone", "is_group", "session",
        "created_at",
    ]  # fmt: skip
    readonly_fields = [
        "conversation_link",
        "name",
        "bridge_name",
        "phone",
        "is_group",
        "session",
        "created_at",
        "personal_data",
    ]
    inlines = [AliasInline, FactInline]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_operate_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    @display(description="conversation")
    def conversation_link(self, contact: Contact) -> str:
        conversation = getattr(contact, "conversation", None)
        return link_to(conversation, "Open the conversation") if conversation else "-"


@admin.register(Fact)
class FactAdmin(ContactMatchAdmin, OperatorAdmin, ReadOnlyAdmin, SessionScopedAdmin, FastChangeList, ModelAdmin):
    session_path = "contact__session"
    list_display = ["created_at", "text", "contact_link", "proposed_by", "noted_by", "forgotten_at"]
    list_display_links = ["created_at"]
    list_select_related = ["contact", "noted_by"]
    list_filter = [
        ("contact__session", VisibleSessionsFilter), "proposed_by", ("forgotten_at", admin.EmptyFieldListFilter),
    ]  # fmt: skip
    contact_path = "contact__"
    text_fields = ["text"]
    search_help_text = "Words of a fact, or a contact's name or phone."
    ordering = ["-id"]  # ids grow with time and are indexed
    actions = ["forget"]

    @display(description="contact")
    def contact_link(self, fact: Fact) -> str:
        return link_to(fact.contact)

    @admin.action(description="Forget", permissions=["operate"])
    def forget(self, request: HttpRequest, queryset: QuerySet[Fact]) -> None:
        forgotten = 0
        for fact in queryset.filter(forgotten_at=None):
            forget(contact=fact.contact, fact_id=fact.pk)
            forgotten += 1
        self.message_user(request, f"{forgotten} facts were forgotten. The agent no longer uses them.")
