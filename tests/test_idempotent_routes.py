"""Which POSTs take an `Idempotency-Key`: all that create or send."""

import pytest
from drf_spectacular.generators import EndpointEnumerator

# Nothing comes of doing these twice, or what comes of it must be new each time (tokens).
DONE_TWICE_IS_DONE_ONCE = {
    "TokenView.post",
    "TokenRefreshView.post",
    "TokenVerifyView.post",
    "LogoutView.post",
    "ConversationViewSet.read",
    "ConversationViewSet.takeover",
    "ConversationViewSet.release",
    "SessionViewSet.logout",
    "SessionViewSet.restart",
}


def posts() -> dict[str, bool]:
    """Each POST of the API, and whether it takes a key."""
    found = {}
    for _, _, method, callback in EndpointEnumerator().get_api_endpoints():
        if method == "POST":
            name = getattr(callback, "actions", {}).get("post", "post")
            handler = getattr(callback.cls, name)
            found[f"{callback.cls.__name__}.{name}"] = getattr(handler, "takes_idempotency_key", False)
    return found


@pytest.mark.parametrize("post", sorted(posts()))
def test_a_post_that_creates_or_sends_takes_an_idempotency_key(post):
    assert posts()[post] != (post in DONE_TWICE_IS_DONE_ONCE)
