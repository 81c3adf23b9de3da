"""The table of limits in the document says what the code does."""

import ast
from pathlib import Path

from daiic.gateway import limits

DOCUMENT = Path(__file__).parents[3] / "docs" / "gateway.md"
DURATIONS = ("PATIENCE", "KEEP_ALIVE", "LINGER")


def rows() -> list[str]:
    """Return the table as the docstrings in limits.py have it."""
    source = ast.parse(Path(limits.__file__).read_text())
    made = []
    for constant, text in zip(source.body, source.body[1:], strict=False):
        if isinstance(constant, ast.Assign) and isinstance(text, ast.Expr):
            name = constant.targets[0].id
            what, colon, then = text.value.value.removesuffix(".").partition(": ")
            if colon:
                made.append(f"| {what.lower()} | {shown(name, getattr(limits, name))} | {then} |")
    return made


def shown(name: str, value: float) -> str:
    if name.endswith("BYTES"):
        return f"{value >> 20} MiB" if value >= 1 << 20 else f"{value >> 10} KiB"
    return f"{value:g} s" if name.endswith(DURATIONS) else f"{value:,}"


def test_the_document_has_every_limit_and_what_happens_at_it() -> None:
    table = "\n".join(rows())
    assert len(rows()) >= 15
    assert table in DOCUMENT.read_text(), f"put this into docs/gateway.md:\n{table}"
