"""Short runs of the fuzz targets, so that they stay alive between the long ones."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from fuzz import answers, driver, forms, http_requests, json_bodies


@pytest.fixture(autouse=True)
def restored_logs() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    uvicorn = logging.getLogger("uvicorn.error")
    uvicorn.handlers, uvicorn.propagate = [], True


@pytest.mark.parametrize("module", [http_requests, json_bodies, forms], ids=lambda m: m.__name__)
def test_nothing_that_is_sent_goes_badly(module: object) -> None:
    inputs = driver.inputs(1500, 7, module.SAMPLES, module.WORDS)
    assert driver.run(module.target(), inputs) == 1500


def test_nothing_that_a_worker_answers_makes_the_gateway_fail() -> None:
    inputs = driver.inputs(1000, 7, answers.SAMPLES, answers.WORDS)
    assert driver.run(answers.target(), inputs) == 1000
