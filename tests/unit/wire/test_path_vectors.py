"""tests/vectors/paths.json is what its script writes."""

from vectors import generate_paths


def test_the_file_is_what_its_script_writes() -> None:
    assert generate_paths.PATH.read_text("utf-8") == generate_paths.content()
