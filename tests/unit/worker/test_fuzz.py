"""Short runs of the fuzz targets, so that they stay alive between the long ones."""

from collections.abc import Iterator

import pytest
import structlog

from fuzz import driver, model_folders, tasks


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """Undo what targets do to logs, as other tests read them."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_no_model_folder_is_more_than_listed_refused_or_shown() -> None:
    inputs = driver.inputs(150, 7, model_folders.SAMPLES, model_folders.WORDS)
    assert driver.run(model_folders.target(), inputs) == 150


def test_every_task_is_answered_or_refused_with_a_reason() -> None:
    inputs = driver.inputs(150, 7, tasks.SAMPLES, tasks.WORDS)
    assert driver.run(tasks.target(), inputs) == 150
