"""A short run of the fuzz target, so that it stays alive between the long ones."""

from fuzz import settings_files


def test_no_settings_or_key_file_is_more_than_used_or_refused_in_one_line() -> None:
    settings_files.run(150, seed=7)
