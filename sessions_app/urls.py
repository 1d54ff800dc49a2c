"""`/api/v1/sessions/` and `/api/v1/agents/`."""

from rest_framework.routers import SimpleRouter

from sessions_app.views import AgentProfileViewSet, SessionViewSet

router = SimpleRouter()
router.register("sessions", SessionViewSet, basename="session")
router.register("agents", AgentProfileViewSet, basename="agent")

urlpatterns = router.urls
