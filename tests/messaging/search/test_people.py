"""Finding contacts: by their phone in any spelling, and by their name whatever its accents."""

import pytest
from django.urls import reverse

from commands.callers import find_conversation
from messaging.models import Contact, Conversation, Message
from messaging.search.people import Folded
from messaging.search.words import strip_accents
from sessions_app.models import WhatsAppSession
from tests.conftest import as_user
from whatsapp_agent.errors import AppError


@pytest.fixture
def people(session: WhatsAppSession) -> dict[str, Contact]:
    """João (Brazil, with the ninth digit), Bea (without), Carlos (Mexico), Großmann (Germany), José (decomposed)."""
    found = {}
    for name, phone in [
        ("João Silva", "+5511988887777"),
        ("Bea", "+552188880002"),
        ("Carlos", "+5215512349999"),
        ("Großmann", "+4915112345678"),
        ("Jose\u0301", "+351912345678"),
    ]:
        contact = Contact.objects.create(session=session, name=name, phone=phone)
        contact.aliases.create(session=session, kind="phone", value=phone)
        Conversation.objects.create(session=session, contact=contact, address=f"{phone[1:]}@s.whatsapp.net")
        found[name.split()[0]] = contact
    return found


SEARCHES = [
    ("+55 11 98888-7777", "João"),
    ("(11) 98888-7777", "João"),
    ("11 98888-7777", "João"),
    ("011 98888-7777", "João"),
    ("98888-7777", "João"),
    ("+551188887777", "João"),
    ("(11) 8888-7777", "João"),
    (" 5511988887777", "João"),
    ("+55 (0)11 98888-7777", "João"),
    ("+55 21 98888-0002", "Bea"),
    ("(21) 98888-0002", "Bea"),
    ("+525512349999", "Carlos"),
    ("55 1234 9999", "Carlos"),
    ("Joao", "João"),
    ("joa\u0303o", "João"),
    ("JOÃO SILVA", "João"),
    ("silva joao", "João"),
    ("Jos\u00e9", "Jose\u0301"),
    ("GROSSMANN", "Großmann"),
    ("großmann", "Großmann"),
]


@pytest.mark.parametrize(("text", "name"), SEARCHES)
@pytest.mark.parametrize("path", ["/api/v1/contacts/", "/api/v1/conversations/"])
def test_a_contact_is_found_in_the_api(people, member, path, text, name):
    rows = as_user(member).get(path, {"search": text}).json()["results"]
    assert [row.get("contact", row)["id"] for row in rows] == [str(people[name].pk)]


@pytest.mark.parametrize(("text", "name"), SEARCHES)
def test_a_contact_is_found_in_the_admin(people, log_in, staff_member, text, name):
    for page in ("contact", "conversation"):
        answer = log_in(staff_member).get(reverse(f"admin:messaging_{page}_changelist"), {"q": text})
        rows = list(answer.context["cl"].result_list)
        assert [getattr(row, "contact", row) for row in rows] == [people[name]]


@pytest.mark.parametrize(("text", "name"), SEARCHES)
def test_the_owner_names_a_contact(people, session, text, name):
    assert find_conversation(session=session, who=text.strip()).contact == people[name]


@pytest.mark.parametrize(
    "query",
    [
        "phone=%2B5511988887777",
        "phone=+5511988887777",  # the + is not encoded, and arrives as a space
        "phone=5511988887777",
        "phone=%2B55%2011%2098888-7777",
        "phone=551188887777",
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/contacts/", "/api/v1/conversations/"])
def test_a_list_is_filtered_by_a_phone_in_any_spelling(people, member, path, query):
    rows = as_user(member).get(f"{path}?{query}").json()["results"]
    assert [row.get("contact", row)["id"] for row in rows] == [str(people["João"].pk)]


@pytest.mark.parametrize("phone", ["hello", "(11) 98888-7777", "98888-7777", "+55", "+"])
def test_a_filter_by_what_is_no_phone_is_refused(people, member, phone):
    answer = as_user(member).get("/api/v1/contacts/", {"phone": phone})
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["phone"])


def test_a_landline_finds_no_mobile(session, member):
    Contact.objects.create(session=session, name="Mobile", phone="+5511933334444")
    client = as_user(member)
    assert client.get("/api/v1/contacts/", {"phone": "+551133334444"}).json()["results"] == []
    assert client.get("/api/v1/contacts/", {"search": "+55 11 3333-4444"}).json()["results"] == []
    assert client.get("/api/v1/contacts/", {"search": "(11) 3333-4444"}).json()["results"] == []


def test_a_stranger_finds_nobody(people, stranger):
    client = as_user(stranger)
    for parameters in ({"search": "joao"}, {"phone": "+5511988887777"}, {"search": "98888"}):
        assert client.get("/api/v1/contacts/", parameters).json()["results"] == []


@pytest.mark.parametrize("to", ["+5215512349999", "+525512349999", "+52 1 55 1234 9999"])
def test_the_phone_that_the_api_shows_is_a_recipient(people, session, member, to):
    answer = as_user(member).post(
        "/api/v1/messages/", {"session": str(session.pk), "to": to, "text": "Hello"}, format="json"
    )
    assert answer.status_code == 201
    assert Message.objects.get().conversation.contact == people["Carlos"]


def test_a_known_phone_that_no_numbering_plan_has_is_a_recipient(session, member):
    contact = Contact.objects.create(session=session, phone="+52112345678901")
    contact.aliases.create(session=session, kind="phone", value=contact.phone)
    Conversation.objects.create(session=session, contact=contact, address="52112345678901@s.whatsapp.net")
    answer = as_user(member).post(
        "/api/v1/messages/", {"session": str(session.pk), "to": contact.phone, "text": "Hello"}, format="json"
    )
    assert answer.status_code == 201
    assert as_user(member).get("/api/v1/contacts/", {"phone": contact.phone}).json()["results"]


def test_a_number_without_its_country_code_is_no_recipient(session, member):
    answer = as_user(member).post(
        "/api/v1/messages/", {"session": str(session.pk), "to": "(11) 98888-7777", "text": "Hello"}, format="json"
    )
    assert answer.status_code == 400
    assert not Conversation.objects.exists()


def test_the_owner_who_names_a_part_that_fits_several_is_asked(session, people):
    other = Contact.objects.create(session=session, name="Joana", phone="+5521988887777")
    Conversation.objects.create(session=session, contact=other, address="5521988887777@s.whatsapp.net")
    with pytest.raises(AppError):
        find_conversation(session=session, who="8888-7777")
    with pytest.raises(AppError):
        find_conversation(session=session, who="joa")


@pytest.mark.parametrize(
    "name", ["João", "Joa\u0303o", "GROẞMANN", "Großmann", "Ὀδυσσεύς", "ИВАН Ёлкин", "ﬁlm", "Åsa", "İpek", "مُحَمَّد"]
)
def test_names_are_folded_in_the_database_as_words_are_in_search(session, name):
    contact = Contact.objects.create(session=session, name=name)
    assert Contact.objects.annotate(folded=Folded("name")).get(pk=contact.pk).folded == strip_accents(name)
