"""What the tests of teamwork begin with."""

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from tests.conftest import as_user


@pytest.fixture
def client(member: User) -> APIClient:
    return as_user(member)
