"""A short run of the fuzz target, so that it stays alive between the long ones."""

from fuzz import driver, settings_files


def test_no_settings_or_key_file_is_more_than_used_or_refused_in_one_line() -> None:
    inputs = driver.inputs(150, 7, settings_files.SAMPLES, settings_files.WORDS)
    assert driver.run(settings_files.target(), inputs) == 150
