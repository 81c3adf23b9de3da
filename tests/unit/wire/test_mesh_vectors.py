"""tests/vectors/mesh.json is what its script writes."""

from vectors import generate_mesh


def test_the_file_is_what_its_script_writes() -> None:
    assert generate_mesh.PATH.read_text("utf-8") == generate_mesh.content()
