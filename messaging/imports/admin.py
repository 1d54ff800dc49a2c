"""The admin page on which administrators import an exported chat: what would be imported first, then the import."""

from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts.admin_pages import is_administrator, log_change
from messaging.imports.parsing import DATE_ORDERS
from messaging.imports.service import MAX_LINES_OF_REQUEST, ImportReport
from messaging.imports.store import find_conversation
from messaging.imports.views import import_uploaded
from sessions_app.models import WhatsAppSession
from whatsapp_agent.errors import AppError

LISTED = 500  # lines and files that the page shows; the counts are of all


class ImportForm(forms.Form):
    session = forms.ModelChoiceField(
        WhatsAppSession.objects.none(), widget=UnfoldAdminSelectWidget, label=gettext_lazy("Number")
    )
    contact = forms.CharField(
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        label=gettext_lazy("Contact"),
        help_text=gettext_lazy("Whose chat it is: a phone number, or the id of a contact or group."),
    )
    me = forms.CharField(
        max_length=200,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        label=gettext_lazy("Our name"),
        help_text=gettext_lazy(
            "The name under which this number wrote, as in the file. Empty: it is found out if possible."
        ),
    )
    date_order = forms.ChoiceField(
        choices=[("", gettext_lazy("The file decides")), *((each, each) for each in DATE_ORDERS)],
        required=False,
        widget=UnfoldAdminSelectWidget,
        label=gettext_lazy("Order of day, month and year"),
    )
    file = forms.FileField(widget=UnfoldAdminFileFieldWidget, max_length=1000, label=gettext_lazy("File"))

    def __init__(self, request: HttpRequest) -> None:
        is_post = request.method == "POST"
        super().__init__(request.POST if is_post else None, request.FILES if is_post else None)
        field: Any = self.fields["session"]
        field.queryset = WhatsAppSession.objects.visible_to(request.user).order_by("name")
        self.fields["file"].help_text = _(
            "The .txt or .zip of WhatsApp's “Export chat”, up to %(size)d MB and %(lines)s lines. Larger ones are "
            "imported by an operator with manage.py import_chat."
        ) % {"size": settings.MEDIA_MAX_BYTES // 2**20, "lines": f"{MAX_LINES_OF_REQUEST:,}"}

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > settings.MEDIA_MAX_BYTES:
            raise forms.ValidationError(_("The file is too large."))
        return file

    def run(self, *, dry_run: bool) -> ImportReport | None:
        """Import; return None, with the reason among the errors, if it is refused."""
        try:
            return import_uploaded(dry_run=dry_run, **self.cleaned_data)
        except AppError as exc:
            field = getattr(exc, "field", "")
            self.add_error(field if field in self.fields else None, str(exc))
            return None


class ImportPage:
    """The part of the conversations' admin by which chats are imported."""

    def get_urls(self: Any) -> list[URLPattern]:
        view = require_http_methods(["GET", "POST"])(self.import_view)
        return [
            path("import/", self.admin_site.admin_view(view), name="conversation-import"),
            *super().get_urls(),  # type: ignore[misc]
        ]

    def import_view(self: Any, request: HttpRequest) -> HttpResponse:
        """Show what would be imported, or import it. htmx takes the report alone, so that the form keeps its file."""
        if not is_administrator(request):
            raise PermissionDenied
        form = ImportForm(request)
        dry_run = "import" not in request.POST
        report = form.run(dry_run=dry_run) if form.is_valid() else None
        conversation = None
        if report is not None and not dry_run:
            values = form.cleaned_data
            conversation = find_conversation(session=values["session"], contact=values["contact"])
            if conversation is not None:
                message = f"Imported a chat: {report.new} messages, {report.changed} changed, {report.files} files."
                log_change(request, conversation, message)
        context = self.admin_site.each_context(request) | {
            "title": _("Import a chat"),
            "form": form,
            "report": report,
            "is_preview": dry_run,
            "conversation": conversation,
            "unreadable": report.unreadable[:LISTED] if report else [],
            "skipped_files": report.skipped_files[:LISTED] if report else [],
        }
        is_refused = bool(form.errors) and not request.headers.get("HX-Request")  # htmx shows no page of an error
        return render(request, "messaging/import.html", context, status=400 if is_refused else 200)
