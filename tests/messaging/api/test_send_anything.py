"""Files, places and contact cards by the API: uploaded or fetched, queued like texts, shown to whom they concern."""

import json
from collections.abc import Iterator

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from accounts.credentials.keys import create_key
from messaging.models import Conversation, Media, Message
from sessions_app.models import WhatsAppSession
from tests.conftest import as_user
from tests.support.fake_receiver import Answer, Receiver
from tests.support.messaging.files import JPEG, MP4, OGG, PDF

MESSAGES = "/api/v1/messages/"


@pytest.fixture(autouse=True)
def media_root(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


@pytest.fixture
def client(member):
    return as_user(member)


@pytest.fixture
def outside(settings) -> Iterator[Receiver]:
    """A web server somewhere; here it is near, and so has to be allowed."""
    settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True
    with Receiver() as receiver:
        yield receiver


def upload(client, conversation, content=JPEG, name="photo.jpg", key=None, **fields):
    headers = {"Idempotency-Key": key} if key else {}
    body = {"conversation": str(conversation.pk), "file": SimpleUploadedFile(name, content), **fields}
    return client.post(MESSAGES, body, format="multipart", headers=headers)


def post(client, conversation, **body):
    return client.post(
        MESSAGES, json.dumps({"conversation": str(conversation.pk), **body}), content_type="application/json"
    )


def stored_files(media_root):
    return [path for path in media_root.rglob("*") if path.is_file()]


def test_an_uploaded_file_is_queued_with_its_caption(client, conversation):
    answer = upload(client, conversation, text="Look")
    assert answer.status_code == 201, answer.json()
    shown = answer.json()
    assert (shown["kind"], shown["text"], shown["status"], shown["author"]) == ("image", "Look", "queued", "staff")
    assert (
        shown["media"] | {"mime_type": "image/jpeg", "filename": "photo.jpg", "size_bytes": len(JPEG)} == shown["media"]
    )
    assert Media.objects.get().file.read() == JPEG


def test_an_upload_to_a_phone_number_and_one_in_a_conversation_are_the_same(client, session, conversation):
    by_phone = client.post(
        MESSAGES,
        {"session": str(session.pk), "to": "+5511988887777", "file": SimpleUploadedFile("a.pdf", PDF)},
        format="multipart",
    )
    inside = client.post(
        f"/api/v1/conversations/{conversation.pk}/messages/",
        {"file": SimpleUploadedFile("a.pdf", PDF)},
        format="multipart",
    )
    assert (by_phone.status_code, inside.status_code) == (201, 201)
    assert by_phone.json()["conversation"] == inside.json()["conversation"] == str(conversation.pk)


def test_an_upload_takes_the_conversation_over_like_any_word_of_a_person(client, conversation):
    upload(client, conversation)
    assert Conversation.objects.get().control == "human"


def test_an_upload_sent_twice_is_sent_once(client, conversation, media_root):
    first, second = upload(client, conversation, key="k"), upload(client, conversation, key="k")
    assert (first.json(), second.headers["Idempotent-Replayed"]) == (second.json(), "true")
    assert len(stored_files(media_root)) == Message.objects.count() == 1
    assert upload(client, conversation, content=PDF, name="a.pdf", key="k").status_code == 422


def test_a_file_is_fetched_from_where_it_is(client, conversation, outside):
    outside.answer = Answer(body=PDF, headers={"Content-Type": "text/html"})
    answer = post(client, conversation, media_url=f"{outside.url}/files/invoice%2012.pdf?x=1", text="Your invoice")
    assert answer.status_code == 201, answer.json()
    assert answer.json()["media"]["filename"] == "invoice 12.pdf"
    assert Media.objects.get().file.read() == PDF


def test_a_file_fetched_twice_under_one_key_is_sent_once(client, conversation, outside):
    outside.answer = Answer(body=PDF)
    body = json.dumps({"conversation": str(conversation.pk), "media_url": f"{outside.url}/a.pdf"})
    answers = [
        client.post(MESSAGES, body, content_type="application/json", headers={"Idempotency-Key": "k"}) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert (len(outside.requests), Message.objects.count()) == (1, 1)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(404), "not_found_there"),
        (Answer(body=b"<html>nothing here"), "unsupported_file"),
        (Answer(body=JPEG * 100), "too_large"),
    ],
)
def test_what_cannot_be_fetched_or_sent_is_refused_and_leaves_nothing_behind(
    client, conversation, outside, settings, media_root, answer, code
):
    settings.MEDIA_MAX_BYTES = 5000
    outside.answer = answer
    refused = post(client, conversation, media_url=outside.url)
    assert (refused.status_code // 100, refused.json()["code"]) == (4, code)
    assert (Message.objects.count(), stored_files(media_root)) == (0, [])


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/admin/",
        "http://169.254.169.254/latest/meta-data/",
        "http://2130706433/",
        "http://[::ffff:10.0.0.1]/",
        "file:///etc/passwd",
        "https://user:secret@nobody.invalid/",
    ],
)
def test_an_address_of_our_own_network_is_not_asked(client, conversation, url):
    refused = post(client, conversation, media_url=url)
    assert (refused.status_code, list(refused.json()["fields"])) == (400, ["media_url"])


def test_nothing_is_fetched_for_someone_who_may_not_send_there(stranger, conversation, outside):
    assert post(as_user(stranger), conversation, media_url=outside.url).status_code == 404
    assert outside.requests == []


def test_a_place_is_queued(client, conversation):
    place = {"latitude": -23.5505, "longitude": -46.6333, "name": "Loja Azul", "address": "Rua A, 1"}
    answer = post(client, conversation, location=place)
    assert (answer.status_code, answer.json()["kind"]) == (201, "location")
    assert answer.json()["details"] == {"location": place}


def test_a_contact_card_is_queued_with_its_phone_as_whatsapp_has_it(client, conversation):
    answer = post(client, conversation, contact={"name": "Bia", "phone": "+55 11 97777-6666"})
    assert (answer.status_code, answer.json()["kind"]) == (201, "contact")
    assert answer.json()["details"] == {"contacts": [{"name": "Bia", "phone": "+5511977776666"}]}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["text"]),
        ({"text": "Hi", "location": {"latitude": 1, "longitude": 1}}, ["text"]),
        (
            {"media_url": "https://nobody.invalid/", "location": {"latitude": 1, "longitude": 1}},
            ["location", "media_url"],
        ),
        ({"location": {"latitude": 91, "longitude": 1}}, ["location"]),
        ({"location": {"latitude": "1", "longitude": 1}}, ["location"]),
        ({"location": {"latitude": 1, "longitude": 1, "zoom": 3}}, ["location"]),
        ({"location": 1}, ["location"]),
        ({"contact": {"name": "Bia", "phone": "123"}}, ["contact"]),
        ({"contact": {"phone": "+5511977776666"}}, ["contact"]),
        ({"text": "Hi", "filename": "a.pdf"}, ["filename"]),
        ({"media_url": 1}, ["media_url"]),
        ({"file": "a"}, ["file"]),
    ],
)
def test_an_invalid_parameter_is_refused_by_name(client, conversation, body, fields):
    refused = post(client, conversation, **body)
    assert (refused.status_code, sorted(refused.json().get("fields", {}))) == (400, fields), refused.json()
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"file": "no file"}, ["file"]),
        ({"media_url": "https://nobody.invalid/"}, ["media_url"]),
        ({"location": "1,1"}, ["location"]),
        ({"reply_to": "1"}, ["reply_to"]),
    ],
)
def test_an_invalid_form_is_refused_by_name(client, conversation, fields, names):
    refused = upload(client, conversation, **fields)
    assert (refused.status_code, sorted(refused.json()["fields"])) == (400, names)


def test_a_form_that_is_too_large_is_refused_before_it_is_read(client, conversation, settings):
    settings.MEDIA_MAX_BYTES = 1000
    assert upload(client, conversation, content=JPEG * 40).json()["code"] == "too_large"
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    refused = upload(client, conversation, content=JPEG * 400)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("content", "name", "why"),
    [
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "a.webp", "JPEG, PNG"),
        (b"ID3\x04" + b"\x00" * 9, "a.mp3", "Ogg"),
        (JPEG * 2000, "large.jpg", "PUBLIC_URL"),
    ],
)
def test_what_the_bridge_cannot_send_is_refused_with_the_reason(client, conversation, content, name, why):
    refused = upload(client, conversation, content=content, name=name)
    assert (refused.status_code, refused.json()["code"]) == (409, "not_supported")
    assert why in refused.json()["detail"]


def test_a_large_file_can_be_sent_when_the_bridge_can_fetch_it(client, conversation, settings):
    settings.PUBLIC_URL = "http://agent.example.com"
    assert upload(client, conversation, content=MP4 * 2000, name="a.mp4").status_code == 201


def test_audio_has_no_caption(client, conversation):
    refused = upload(client, conversation, content=OGG, name="a.ogg", text="Listen")
    assert (refused.status_code, list(refused.json()["fields"])) == (400, ["text"])


def test_nothing_is_queued_where_the_session_is_not_connected(client, conversation):
    WhatsAppSession.objects.update(status="disconnected")
    answers = [upload(client, conversation), post(client, conversation, location={"latitude": 1, "longitude": 1})]
    assert [answer.json()["code"] for answer in answers] == ["session_not_connected"] * 2
    assert not Message.objects.exists()


# --- to whom it is shown --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["page.html", "drawing.svg", "drawing.xml", "script.js", "setup.exe"])
def test_a_page_or_program_is_sent_under_its_own_name_and_never_rendered(
    client, conversation, session, simulator, name
):
    session.bridge = simulator  # zapw takes few types
    session.save()
    content = b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    sent = upload(client, conversation, content, name=name).json()
    answer = client.get(f"/api/v1/media/{sent['media']['id']}/content/")
    assert (sent["kind"], sent["media"]["filename"]) == ("document", name)
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    assert answer.headers["Content-Type"].split(";")[0] in {"text/plain", "application/xml"}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]


def test_a_file_is_given_to_a_member_as_something_to_save(client, conversation):
    media_id = upload(client, conversation).json()["media"]["id"]
    shown = client.get(f"/api/v1/media/{media_id}/").json()
    answer = client.get(f"/api/v1/media/{media_id}/content/")
    assert shown["message"] == str(Message.objects.get().pk)
    assert b"".join(answer.streaming_content) == JPEG
    assert answer.headers["Content-Disposition"] == 'attachment; filename="photo.jpg"'
    assert (answer.headers["X-Content-Type-Options"], "sandbox" in answer.headers["Content-Security-Policy"]) == (
        "nosniff",
        True,
    )


def test_a_stranger_is_given_nothing(client, conversation, stranger):
    media_id = upload(client, conversation).json()["media"]["id"]
    for path in (f"/api/v1/media/{media_id}/", f"/api/v1/media/{media_id}/content/"):
        assert as_user(stranger).get(path).status_code == 404
        assert as_user().get(path).status_code == 401


def test_a_key_without_the_scope_is_given_nothing(client, conversation, member):
    media_id = upload(client, conversation).json()["media"]["id"]
    key = APIClient()
    key.credentials(HTTP_AUTHORIZATION=f"Api-Key {create_key(user=member, name='x', scopes=['messages:send'])[1]}")
    assert key.get(f"/api/v1/media/{media_id}/content/").status_code == 403


def test_what_only_the_bridge_has_is_not_here(client, conversation):
    message = Message.objects.create(
        session=conversation.session, conversation=conversation, direction="inbound", author="contact", status="handled"
    )
    media = Media.objects.create(message=message, filename="a.pdf")
    assert client.get(f"/api/v1/media/{media.pk}/content/").status_code == 404


def test_two_files_at_once_are_refused(client, conversation):
    body = {
        "conversation": str(conversation.pk),
        "file": [SimpleUploadedFile("a.jpg", JPEG), SimpleUploadedFile("b.jpg", JPEG)],
    }
    answer = client.post(MESSAGES, body, format="multipart")
    assert (answer.status_code, answer.json()["fields"]) == (400, {"file": ["Duplicate field."]})


def test_a_file_by_url_that_cannot_be_sent_is_refused_by_the_name_of_the_field(client, conversation, outside):
    outside.answer = Answer(body=b"<html></html>")
    answer = post(client, conversation, media_url=outside.url)
    assert (answer.status_code, list(answer.json()["fields"])) == (415, ["media_url"])


def upload_form(conversation, filename, content=JPEG):
    return (
        b'--XX\r\nContent-Disposition: form-data; name="conversation"\r\n\r\n%s\r\n'
        b'--XX\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n--XX--\r\n'
    ) % (str(conversation.pk).encode(), filename, content)


def post_form(client, body):
    return client.generic("POST", MESSAGES, body, content_type="multipart/form-data; boundary=XX")


def test_a_file_name_in_latin_1_is_refused_with_the_reason(client, conversation):
    answer = post_form(client, upload_form(conversation, "férias.jpg".encode("latin-1")))
    assert (answer.status_code, answer.json()["code"]) == (400, "parse_error")
    assert "UTF-8" in answer.json()["detail"]


def test_a_file_name_in_utf_8_is_stored(client, conversation):
    answer = post_form(client, upload_form(conversation, "férias.jpg".encode()))
    assert answer.json()["media"]["filename"] == "férias.jpg"


@pytest.mark.parametrize("missing", [4, 6, 8, 20, 60, 150, 200])
def test_a_truncated_form_is_refused_with_the_reason(client, conversation, missing):
    answer = post_form(client, upload_form(conversation, b"a.jpg")[:-missing])
    assert (answer.status_code, answer.json()["code"]) == (400, "parse_error")
    assert "incomplete" in answer.json()["detail"]
    assert not Message.objects.exists()


def test_a_file_that_holds_headers_in_latin_1_itself_is_taken(client, conversation):
    content = JPEG + b'Content-Disposition: attachment; filename="f\xe9rias.jpg"\r\n\r\nHello'
    answer = post_form(client, upload_form(conversation, b"a.jpg", content))
    assert answer.status_code == 201


@pytest.mark.parametrize("phone", ["+1 555 0100", "+55 11 98888-7777;ext=5", "+49 30"])
def test_a_phone_that_cannot_be_one_is_refused_by_name(client, session, phone):
    body = {"session": str(session.pk), "to": phone, "text": "Hello"}
    answer = client.post(MESSAGES, json.dumps(body), content_type="application/json")
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["to"])
