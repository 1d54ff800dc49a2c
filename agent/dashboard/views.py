"""The dashboard: charts and figures of a period, each of which leads to the list behind it."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_safe

from accounts.admin_pages import staff_user
from accounts.models import User
from agent.dashboard.charts import Chart, Series, draw, starts_of
from agent.dashboard.figures import COUNTED, MAX_COUNT, MAX_MESSAGES, Figures, Period, read_figures
from sessions_app.models import WhatsAppSession

PERIODS = {"24h": gettext_lazy("24 hours"), "7d": gettext_lazy("7 days"), "30d": gettext_lazy("30 days")}
INBOUND, AGENT, PEOPLE, FAILED, OTHER = "#6b7280", "#10b981", "#f59e0b", "#dc2626", "#94a3b8"


@require_safe
def dashboard(request: HttpRequest) -> HttpResponse:
    """Render the figures of a period; only staff get here. The page of a longer one is shown at once: it asks for its
    figures, `part=figures`, which may take a second to count."""
    name = request.GET.get("period", "")
    name = name if name in PERIODS else "24h"
    is_part = request.GET.get("part") == "figures"
    context: dict[str, Any] = {"name": name, "periods": PERIODS.items()}
    if is_part or name == "24h":
        context |= _context(staff_user(request), period_of(name, now=timezone.localtime()))
    if is_part:
        return render(request, "agent/dashboard/figures.html", context)
    context |= admin.site.each_context(request) | {"title": _("Dashboard")}
    return render(request, "agent/dashboard/page.html", context)


def _context(user: User, period: Period) -> dict[str, Any]:
    figures = read_figures(user, period)
    return {
        "figures": figures,
        "cards": cards_of(figures),
        "charts": charts_of(figures),
        "profiles": [row | {"link": _turns_of(row, period)} for row in figures.profiles],
        "staff": [
            row
            | {
                "link": _counted(period, author__exact="staff", sent_by__id__exact=row["id"]),
                "median": duration(row["median_s"]),
            }
            for row in figures.staff
        ],
        "sessions": [_session_row(row) for row in figures.sessions],
        "max_messages": MAX_MESSAGES,
    }


def period_of(name: str, *, now: datetime) -> Period:
    """Return a period that ends now and begins with a whole hour or day."""
    if name == "24h":
        since = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=23)
        return Period(since=since, until=now, bucket="hour")
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return Period(since=midnight - timedelta(days=int(name.removesuffix("d")) - 1), until=now, bucket="day")


def cards_of(figures: Figures) -> list[dict[str, Any]]:
    """Return the single figures, with the list behind each."""
    exchanges, period = figures.exchanges, figures.period
    answered = exchanges["agent"] + exchanges["people"]
    share = f"{100 * exchanges['agent'] / answered:.0f} %" if answered else "–"
    unanswered = exchanges["unanswered"]
    waiting = f"{MAX_COUNT}+" if figures.waiting >= MAX_COUNT else str(figures.waiting)
    return [
        _card(_("Waiting for a person"), waiting, f"{reverse('inbox')}?tab=needs", is_bad=figures.waiting > 0),
        _card(
            _("Answered by the agent"),
            share,
            _counted(period, author__exact="agent"),
            note=ngettext("%(count)s question answered", "%(count)s questions answered", answered)
            % {"count": answered},
        ),
        _card(
            _("Not answered yet"),
            str(unanswered),
            f"{reverse('inbox')}?{urlencode({'unanswered_since': period.since.isoformat()})}",
        ),
        _card(
            _("Hand-offs to a person"),
            str(figures.handoffs),
            f"{reverse('admin:commands_commandrun_changelist')}?"
            + urlencode({"name__exact": "human", "status__exact": "done"} | _span(period, "created_at")),
        ),
        _card(
            _("Time to the first answer"),
            duration(exchanges["first_median_s"]),
            _counted(period, direction__exact="outbound"),
            note=_("95 %% within %(time)s") % {"time": duration(exchanges["first_p95_s"])},
        ),
        _card(
            _("Answer time"),
            duration(exchanges["median_s"]),
            _counted(period, direction__exact="outbound"),
            note=_("95 %% within %(time)s") % {"time": duration(exchanges["p95_s"])},
        ),
        _trouble(figures, "failed", _("Messages not sent")),
        _trouble(figures, "unconfirmed", _("Messages unconfirmed")),
        _card(
            _("Failed turns"),
            str(figures.outcomes.get("failed", 0)),
            _turns(period, outcome__exact="failed"),
            is_bad=bool(figures.outcomes.get("failed")),
        ),
    ]


def charts_of(figures: Figures) -> list[Chart]:
    """Return the charts of messages and of turns."""
    period = figures.period
    starts = starts_of(period.since, period.until, bucket=period.bucket)

    def label(start: datetime) -> str:
        return f"{start:%H}:00" if period.bucket == "hour" else date_format(start, "j M")

    spans = [Period(since, until, period.bucket) for since, until in pairwise([*starts, period.until])]
    by = _("by hour") if period.bucket == "hour" else _("by day")
    return [
        draw(
            _("Messages") + f" {by}",  # xgettext does not read f-strings
            rows=figures.messages,
            series=[
                Series("inbound", _("from contacts"), INBOUND),
                Series("agent", _("by the agent"), AGENT),
                Series("people", _("by people"), PEOPLE),
            ],
            starts=starts,
            label=label,
            links=[_counted(span) for span in spans],
        ),
        draw(
            _("Turns of the agent") + f" {by}",
            rows=figures.turns,
            series=[
                Series("answered", _("answered"), AGENT),
                Series("failed", _("failed"), FAILED),
                Series("other", _("other"), OTHER),
            ],
            starts=starts,
            label=label,
            links=[_turns(span) for span in spans],
        ),
    ]


def duration(seconds: float | None) -> str:
    """Return a time span as people say it: `8 s`, `3 min`, `2 h`, `4 d`."""
    if seconds is None:
        return "–"
    for limit, unit, name in ((100, 1, "s"), (100 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:.0f} d"


def _card(label: str, value: str, link: str, *, note: str = "", is_bad: bool = False) -> dict[str, Any]:
    return {"label": label, "value": value, "link": link, "note": note, "is_bad": is_bad}


def _trouble(figures: Figures, status: str, label: str) -> dict[str, Any]:
    count = figures.trouble.get(status, 0)
    return _card(label, str(count), _messages(figures.period, status__exact=status), is_bad=count > 0)


def _messages(period: Period, **lookups: Any) -> str:
    return f"{reverse('admin:messaging_message_changelist')}?{urlencode(lookups | _span(period, 'said_at'))}"


def _counted(period: Period, **lookups: Any) -> str:
    return _messages(period, **COUNTED | lookups)


def _turns(period: Period, **lookups: Any) -> str:
    return f"{reverse('admin:messaging_turn_changelist')}?{urlencode(lookups | _span(period, 'created_at'))}"


def _span(period: Period, field: str) -> dict[str, str]:
    return {f"{field}__gte": period.since.isoformat(), f"{field}__lt": period.until.isoformat()}


def _turns_of(row: dict[str, Any], period: Period) -> str:
    """Return the link to the turns of a profile; only test chats use a draft."""
    return _turns(period, agent_profile__id__exact=row["id"], **({"test_chats": "only"} if row["is_draft"] else {}))


def _session_row(row: dict[str, Any]) -> dict[str, Any]:
    query = urlencode({"status__exact": row["status"], "ended_at__isempty": "1"})
    return {
        "label": WhatsAppSession.Status(row["status"]).label,
        "count": row["n"],
        "is_bad": row["status"] in {"disconnected", "logged_out"},
        "link": f"{reverse('admin:sessions_app_whatsappsession_changelist')}?{query}",
    }
