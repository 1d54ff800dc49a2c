"""Contacts and the facts known about them."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from accounts.admin_pages import FastChangeList, OperatorAdmin, ReadOnlyAdmin, StaleFormAdmin, asks_first, staff_user
from messaging.admin.shared import ContactMatchAdmin, link_to, link_to_inbox
from messaging.contacts.merging import merge_contacts
from messaging.contacts.proposals import accept_merge, refuse_merge
from messaging.contacts.unmerging import unmerge
from messaging.history.facts import forget
from messaging.models import Contact, ContactAlias, ContactMerge, Fact
from messaging.people.admin import PersonPages
from sessions_app.admin import SessionScopedAdmin, VisibleSessionsFilter
from whatsapp_agent.errors import AppError

MERGE_QUESTION = gettext_lazy(
    "They become one contact, with the messages, facts and ids of all. It can be undone on the page Contact merges."
)


class AliasInline(ReadOnlyAdmin, TabularInline):
    model = ContactAlias
    fields = readonly_fields = ["kind", "value", "created_at"]
    ordering = ["created_at"]
    extra = 0
    verbose_name_plural = gettext_lazy("aliases")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return True  # the contact's page has checked it


class FactInline(ReadOnlyAdmin, TabularInline):
    model = Fact
    fields = readonly_fields = ["text", "proposed_by", "noted_by", "message", "forgotten_at", "created_at"]
    ordering = ["-created_at"]
    extra = 0
    per_page = 50
    show_change_link = True
    verbose_name_plural = gettext_lazy("facts")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return True  # the contact's page has checked it

    def get_queryset(self, request: HttpRequest) -> QuerySet[Fact]:
        return super().get_queryset(request).select_related("noted_by").defer("message__text")


@admin.register(Contact)
class ContactAdmin(
    StaleFormAdmin, PersonPages, ContactMatchAdmin, OperatorAdmin, SessionScopedAdmin, FastChangeList, ModelAdmin
):
    list_display = ["__str__", "phone", "session", "special", "created_at"]
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
    actions = ["merge"]
    change_form_outer_before_template = "messaging/number_of_row.html"

    @admin.action(description=gettext_lazy("Merge (they are one person)"), permissions=["operate"])
    @asks_first(MERGE_QUESTION, label=lambda contact: f"{contact.name} {contact.phone}".strip() or str(contact))
    def merge(self, request: HttpRequest, queryset: QuerySet[Contact]) -> None:
        """Merge the selected contacts into the one that was here first."""
        keep, *others = queryset.order_by("created_at", "id")
        if not others:
            self.message_user(request, _("Select at least two contacts."), messages.WARNING)
            return
        merged = 0
        try:
            for other in others:
                if merge_contacts(keep=keep, lose=other, by=staff_user(request)) is not None:
                    self.log_change(request, keep, f"Merged the contact {other.pk} into this one.")
                    merged += 1
        except AppError as exc:
            self.message_user(request, str(exc), messages.ERROR)
        self.message_user(
            request,
            ngettext(
                "%(count)s contact was merged into %(keep)s. Undo it on the page Contact merges.",
                "%(count)s contacts were merged into %(keep)s. Undo it on the page Contact merges.",
                merged,
            )
            % {"count": merged, "keep": keep},
        )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_operate_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    @display(description=gettext_lazy("special"), label={"special": "warning"})
    def special(self, contact: Contact) -> tuple[str, str]:
        """Return what is not so of most contacts."""
        facts = {_("group"): contact.is_group, _("blocked"): contact.is_blocked, _("listed"): contact.is_allowed}
        return "special", ", ".join(name for name, is_so in facts.items() if is_so)

    @display(description=gettext_lazy("conversation"))
    def conversation_link(self, contact: Contact) -> str:
        conversation = getattr(contact, "conversation", None)
        return link_to_inbox(conversation, _("Open the conversation")) if conversation else "-"


@admin.register(ContactMerge)
class ContactMergeAdmin(OperatorAdmin, ReadOnlyAdmin, SessionScopedAdmin, FastChangeList, ModelAdmin):
    list_display = [
        "created_at", "contact_link", "merged_name", "merged_phone", "status", "reason", "decided_by", "undone_by",
    ]  # fmt: skip
    list_display_links = ["created_at"]
    list_select_related = ["contact", "decided_by", "undone_by"]
    list_filter = [("session", VisibleSessionsFilter), "status", "reason"]
    ordering = ["-id"]  # ids grow with time and are indexed
    fields = readonly_fields = [
        "contact_link", "merged_name", "merged_phone", "merged_id", "status", "reason", "session", "decided_by",
        "decided_at", "undone_by", "undone_at", "created_at",
    ]  # fmt: skip
    actions = ["accept", "refuse", "undo"]
    change_form_outer_before_template = "messaging/number_of_row.html"

    @display(description=gettext_lazy("kept contact"))
    def contact_link(self, merge: ContactMerge) -> str:
        return link_to(merge.contact)

    @admin.action(description=gettext_lazy("Accept: they are one person"), permissions=["operate"])
    @asks_first(MERGE_QUESTION)
    def accept(self, request: HttpRequest, queryset: QuerySet[ContactMerge]) -> None:
        self._decide(
            request, queryset, lambda row: accept_merge(proposal=row, by=staff_user(request)), "accepted",
            _("Merged: %(count)s."),
        )  # fmt: skip

    @admin.action(description=gettext_lazy("Refuse: they are two people"), permissions=["operate"])
    @asks_first(
        gettext_lazy("They are not proposed again. To merge them after all, select both among the contacts."),
        about=lambda rows: rows.filter(status=ContactMerge.Status.PROPOSED),
    )
    def refuse(self, request: HttpRequest, queryset: QuerySet[ContactMerge]) -> None:
        self._decide(
            request, queryset, lambda row: refuse_merge(proposal=row, by=staff_user(request)), "refused",
            _("Refused: %(count)s."),
        )  # fmt: skip

    @admin.action(description=gettext_lazy("Undo the merge"), permissions=["operate"])
    @asks_first(gettext_lazy("They become two contacts again. To merge them again, select both among the contacts."))
    def undo(self, request: HttpRequest, queryset: QuerySet[ContactMerge]) -> None:
        latest_first = queryset.order_by("-decided_at")
        self._decide(
            request, latest_first, lambda row: unmerge(merge=row, by=staff_user(request)), "undone",
            _("Taken back: %(count)s."),
        )  # fmt: skip

    def _decide(
        self,
        request: HttpRequest,
        queryset: QuerySet[ContactMerge],
        decide: Callable[[ContactMerge], object],
        decision: str,
        report: str,
    ) -> None:
        """Decide each, and log it at the contact that is kept: forgetting that contact deletes the entry too."""
        done = 0
        for row in queryset:
            try:
                decide(row)
            except AppError as exc:
                self.message_user(request, f"{row}: {exc}", messages.ERROR)
            else:
                self.log_change(request, row.contact, f"Merge {row.pk}: {decision}.")
                done += 1
        self.message_user(request, report % {"count": done})


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
    search_help_text = gettext_lazy("Words of a fact, or a contact's name or phone.")
    ordering = ["-id"]  # ids grow with time and are indexed
    actions = ["forget"]
    change_form_outer_before_template = "messaging/number_of_row.html"

    @display(description=gettext_lazy("contact"))
    def contact_link(self, fact: Fact) -> str:
        return link_to(fact.contact)

    @admin.action(description=gettext_lazy("Forget"), permissions=["operate"])
    @asks_first(gettext_lazy("The agent no longer uses what is forgotten, and nothing here brings it back."))
    def forget(self, request: HttpRequest, queryset: QuerySet[Fact]) -> None:
        forgotten = 0
        for fact in queryset.filter(forgotten_at=None):
            forget(contact=fact.contact, fact_id=fact.pk)
            self.log_change(request, fact, "Forgotten.")
            forgotten += 1
        self.message_user(
            request,
            ngettext(
                "%(count)s fact was forgotten. The agent no longer uses it.",
                "%(count)s facts were forgotten. The agent no longer uses them.",
                forgotten,
            )
            % {"count": forgotten},
        )
