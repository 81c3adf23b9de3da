"""tests/vectors/domains.json is what its script writes."""

from vectors import generate_domains


def test_the_file_is_what_its_script_writes() -> None:
    assert generate_domains.PATH.read_text("utf-8") == generate_domains.content()
