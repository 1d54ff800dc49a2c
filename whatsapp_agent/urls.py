"""Routes."""

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from accounts.credentials.login_state import login_state
from accounts.openapi import SchemaView
from accounts.preferences import choose_theme, preferences
from agent.dashboard.views import dashboard
from agent.monitoring.views import metrics
from agent.push.views import log_out
from agent.server.health import ready
from agent.staff_inbox.views import admin_index
from agent.webhooks import webhook
from messaging.admin.link_history import link_history_view
from messaging.views import public_media
from whatsapp_agent.api.docs_pages import RedocPage, SwaggerPage
from whatsapp_agent.api.errors import route_not_found
from whatsapp_agent.http.health import health

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    re_path(r"^health/?$", health),
    re_path(r"^health/ready/?$", ready),
    re_path(r"^metrics/?$", metrics),
    # Every route is served without its trailing slash too: see http.middleware.optional_trailing_slash.
    re_path(r"^api/v1/webhooks/(?P<slug>[-\w]+)/(?P<secret>[^/]+)/?$", webhook, name="webhook"),
    re_path(r"^api/v1/webhooks/(?P<slug>[-\w]+)/?$", webhook),
    path("api/v1/", include("accounts.urls")),
    path("api/v1/", include("sessions_app.urls")),
    path("api/v1/", include("messaging.urls")),
    path("api/v1/", include("commands.urls")),
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", SwaggerPage.as_view(), name="docs"),
    path("api/redoc/", RedocPage.as_view(), name="redoc"),
    re_path(r"^api/", route_not_found),
    path("media/<str:token>/", public_media, name="media-public"),
    path("simulator/", include("agent.simulator.urls")),
    path("admin/inbox/", include("agent.staff_inbox.urls")),
    path("admin/preferences/", admin.site.admin_view(preferences), name="preferences"),
    path("admin/preferences/theme/", admin.site.admin_view(choose_theme), name="choose-theme"),
    path("admin/login-state/", login_state, name="login-state"),
    path("admin/dashboard/", admin.site.admin_view(dashboard), name="dashboard"),
    path("admin/numbers/<uuid:session_id>/history/", admin.site.admin_view(link_history_view), name="link-history"),
    path("admin/profiles/", include("agent.profile_tests.urls")),
    path("admin/logout/", admin.site.admin_view(log_out), name="logout"),
    path("admin/", admin_index),
    path("admin/", admin.site.urls),
]

handler400 = "whatsapp_agent.api.errors.bad_request"
handler404 = "whatsapp_agent.api.errors.route_not_found"
handler500 = "whatsapp_agent.api.errors.server_error"
