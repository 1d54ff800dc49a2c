"""A full disk is named: to clients, in the log and by readiness."""

import errno
import json
import shutil
import time
from collections import namedtuple

import pytest
from django.db import OperationalError
from psycopg2.errors import DiskFull
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from agent.server import doctor
from agent.server.health import ready
from whatsapp_agent.storage import disk

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def full(monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**11, 10**11, 4096))


def answer_to(exc: Exception, cause: Exception | None = None):
    class View(APIView):
        authentication_classes = permission_classes = throttle_classes = ()

        def get(self, _request):
            raise exc from cause

    response = View.as_view()(APIRequestFactory().get("/"))
    return response.status_code, response.data["code"]


def test_a_disk_with_free_space_is_healthy():
    assert disk.has_room()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_file_for_which_there_is_no_space_is_answered_by_name(code):
    assert answer_to(OSError(code, "full")) == (507, "insufficient_storage")


def test_a_database_without_space_is_answered_by_name():
    assert answer_to(OperationalError("full"), DiskFull("full")) == (507, "insufficient_storage")


def test_a_database_that_crashed_on_a_full_disk_is_answered_by_name(full):
    assert answer_to(OperationalError("gone")) == (507, "insufficient_storage")
    assert disk.reason(OperationalError("gone")) == "disk_full"


def test_a_database_that_is_away_for_another_reason_is_unavailable():
    assert answer_to(OperationalError("gone")) == (503, "unavailable")
    assert disk.reason(OperationalError("gone")) == "OperationalError"


@pytest.mark.django_db
def test_readiness_and_doctor_report_a_full_disk(full, rf):
    answer = ready(rf.get("/health/ready/"))
    assert (answer.status_code, json.loads(answer.content)["checks"]["disk"]) == (503, False)
    assert not next(finding for finding in doctor.findings() if finding.about == "disk").is_healthy


@pytest.mark.django_db
@pytest.mark.parametrize("ahead_s", [600.0, -3600.0])
def test_readiness_and_doctor_report_clocks_that_differ(ahead_s, rf, monkeypatch):
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - ahead_s)
    answer = ready(rf.get("/health/ready/"))
    assert (answer.status_code, json.loads(answer.content)["checks"]["clock"]) == (503, False)
    assert not next(finding for finding in doctor.findings() if finding.about == "clock").is_healthy


def test_exceptions_that_led_to_each_other_are_each_looked_at_once():
    first, second = ValueError(), KeyError()
    first.__context__, second.__context__ = second, first
    assert not disk.is_full(first)
    second.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert disk.is_full(first)
