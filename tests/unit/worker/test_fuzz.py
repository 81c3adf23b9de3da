"""A short run of the fuzz target, so that it stays alive between the long ones."""

from fuzz import model_folders


def test_no_model_folder_is_more_than_listed_refused_or_shown() -> None:
    model_folders.run(150, seed=7)
