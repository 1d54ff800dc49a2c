"""Routes under /admin/profiles/."""

from django.urls import path

from agent.profile_tests import views

urlpatterns = [
    path("<uuid:profile_id>/test/", views.page, name="profile-test"),
    path("<uuid:profile_id>/test/messages/", views.messages, name="profile-test-messages"),
    path("<uuid:profile_id>/test/say/", views.say, name="profile-test-say"),
    path("<uuid:profile_id>/test/start-over/", views.start_over, name="profile-test-start-over"),
    path("<uuid:profile_id>/test/replay/<uuid:turn_id>/", views.replay_turn, name="profile-test-replay"),
]
