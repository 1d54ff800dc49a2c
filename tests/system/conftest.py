"""A fake model and a fake zapw for each module, and the application that uses them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.application import Application
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_zapw import FakeZapw

MODEL_KEY = "fake-model-key"


@pytest.fixture(scope="module")
def model() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(api_key=MODEL_KEY) as fake:
        yield fake


@pytest.fixture(scope="module")
def zapw() -> Iterator[FakeZapw]:
    with FakeZapw() as fake:
        fake.add_session("sales", phone="5511999990000")
        yield fake


@pytest.fixture(scope="module")
def configure(
    tmp_path_factory: pytest.TempPathFactory, prepared_data: Path, model: FakeOpenAI, zapw: FakeZapw
) -> Callable[..., Application]:
    """Return an application with this environment that uses the fakes; it is not started yet."""

    def configured(**environment: Any) -> Application:
        application = Application(
            tmp_path_factory.mktemp("application"),
            prepared=prepared_data,
            WHATSAPP_API_URL=zapw.url,
            WHATSAPP_API_KEY=zapw.api_key,
            OPENAI_BASE_URL=model.base_url,
            OPENAI_API_KEY=MODEL_KEY,
            **environment,
        )
        zapw.webhook_url = application.webhook_url
        return application

    return configured
