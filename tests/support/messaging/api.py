"""Calls of the API, as tests make them."""

import json

from messaging.models import Message

V1 = "/api/v1/"


NOBODYS_ID = "01a2060c-0186-76a7-9642-3a280e006d9b"


def get(client, path, **params):
    answer = client.get(V1 + path, params)
    assert answer.status_code == 200, answer.json()
    return answer.json()


def post(client, path, **body):
    return client.post(V1 + path, json.dumps(body), content_type="application/json")


def outbound(conversation, **values):
    return Message.objects.create(
        session=conversation.session,
        conversation=conversation,
        direction="outbound",
        author="agent",
        text="Hi",
        **values,
    )
