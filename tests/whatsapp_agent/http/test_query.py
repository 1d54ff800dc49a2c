"""Query strings of pages for people: a parameter that is given twice is refused, as in the API."""

import pytest
from django.urls import reverse

from tests.conftest import as_user

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("page", "query"),
    [
        ("admin:messaging_conversation_changelist", "control__exact=human&control__exact=agent"),
        ("admin:messaging_message_changelist", "q=a&q=b"),
        ("admin:messaging_contact_changelist", "o=1&p=0&o=2"),
        ("admin:autocomplete", "app_label=accounts&model_name=user&field_name=x&term=a&term=b"),
        ("admin:login", "next=/admin/&next=//evil.example"),
        ("simulator", "next=1&next=2"),
    ],
)
def test_a_page_refuses_a_parameter_that_is_given_twice(page, query, admin, log_in):
    response = log_in(admin).get(f"{reverse(page)}?{query}")
    assert (response.status_code, response.headers["Content-Type"].split(";")[0]) == (400, "text/html")


def test_a_page_takes_each_parameter_once(admin, log_in):
    url = reverse("admin:messaging_conversation_changelist")
    assert log_in(admin).get(f"{url}?control__exact=human&q=ana&o=1").status_code == 200


def test_the_simulator_names_the_parameter_that_is_given_twice(admin, log_in, session):
    url = reverse("simulator-contacts", args=[session.pk])
    response = log_in(admin).get(f"{url}?q=ana&q=bruno")
    assert (response.status_code, response.json()["fields"]) == (400, {"q": ["Duplicate parameter."]})


def test_the_simulator_names_a_token_that_is_given_twice(admin, log_in, conversation):
    url = reverse("simulator-conversation", args=[conversation.pk])
    assert log_in(admin).get(f"{url}?after=x&after=y").json()["code"] == "invalid"


def test_the_api_still_takes_several_values_of_a_filter_of_many(admin, conversation):
    assert as_user(admin).get("/api/v1/conversations/?control=agent&control=human").status_code == 200
