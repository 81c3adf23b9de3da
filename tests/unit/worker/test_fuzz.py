"""A short run of the fuzz target, so that it stays alive between the long ones."""

from fuzz import driver, model_folders


def test_no_model_folder_is_more_than_listed_refused_or_shown() -> None:
    inputs = driver.inputs(150, 7, model_folders.SAMPLES, model_folders.WORDS)
    assert driver.run(model_folders.target(), inputs) == 150
