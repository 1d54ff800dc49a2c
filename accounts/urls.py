"""`/api/v1/auth/`."""

from rest_framework.routers import DynamicRoute, SimpleRouter

from accounts.views import ApiKeyViewSet, MeViewSet, TokenViewSet


class ActionRouter(SimpleRouter):
    """Routes for viewsets of actions alone: `token`, not `tokens-token`, is the name of a route."""

    routes = [DynamicRoute(url="^{prefix}/{url_path}{trailing_slash}$", name="{url_name}", detail=False, initkwargs={})]


actions = ActionRouter()
actions.register("auth", TokenViewSet, basename="tokens")
actions.register("auth", MeViewSet, basename="account")

router = SimpleRouter()
router.register("auth/keys", ApiKeyViewSet, basename="key")

urlpatterns = [*actions.urls, *router.urls]
