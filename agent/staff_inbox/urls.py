"""Routes of the inbox, under /admin/inbox/."""

from django.urls import path

from agent.push import views as push
from agent.staff_inbox import actions, corrections, sending, views

urlpatterns = [
    path("", views.inbox, name="inbox"),
    path("manifest.webmanifest", views.manifest, name="inbox-manifest"),
    path("push/", push.add, name="inbox-push"),
    path("push/key/", push.key, name="inbox-push-key"),
    path("push/remove/", push.remove, name="inbox-push-remove"),
    path("worker.js", push.worker, name="inbox-worker"),
    path("poll/", views.poll, name="inbox-poll"),
    path("start/", actions.start, name="inbox-start"),
    path("media/<uuid:media_id>/", views.media, name="inbox-media"),
    path("<uuid:conversation_id>/", views.inbox, name="inbox-conversation"),
    path("<uuid:conversation_id>/changes/", views.changes, name="inbox-changes"),
    path("<uuid:conversation_id>/older/<uuid:message_id>/", views.older, name="inbox-older"),
    path("<uuid:conversation_id>/text/<uuid:message_id>/", views.whole_text, name="inbox-text"),
    path("<uuid:conversation_id>/why/<uuid:message_id>/", views.why, name="inbox-why"),
    path("<uuid:conversation_id>/proposal/<uuid:message_id>/", corrections.propose, name="inbox-proposal"),
    path("<uuid:conversation_id>/replies/", views.replies, name="inbox-replies"),
    path("<uuid:conversation_id>/ask/<slug:name>/", actions.ask, name="inbox-ask"),
    path("<uuid:conversation_id>/send/<slug:name>/", sending.send, name="inbox-send"),
    path("<uuid:conversation_id>/edit/<uuid:message_id>/", sending.edit_form, name="inbox-edit"),
    path("<uuid:conversation_id>/edit/", sending.change, {"name": "edit"}, name="inbox-change"),
    path("<uuid:conversation_id>/revoke/", sending.change, {"name": "revoke"}, name="inbox-revoke"),
    path("<uuid:conversation_id>/reply/", actions.reply, name="inbox-reply"),
    path("<uuid:conversation_id>/<slug:name>/", actions.act, name="inbox-act"),
]
