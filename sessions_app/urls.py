"""`/api/v1/sessions/`, `/api/v1/bridges/` and `/api/v1/agents/`."""

from rest_framework.routers import SimpleRouter

from sessions_app.views import AgentProfileViewSet, BridgeViewSet, SessionViewSet

router = SimpleRouter()
router.register("sessions", SessionViewSet, basename="session")
router.register("bridges", BridgeViewSet, basename="bridge")
router.register("agents", AgentProfileViewSet, basename="agent")

urlpatterns = router.urls
