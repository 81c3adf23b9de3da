"""tests/vectors/audio.json is what its script writes."""

from vectors import generate_audio


def test_the_file_is_what_its_script_writes() -> None:
    assert generate_audio.PATH.read_text("utf-8") == generate_audio.content()
