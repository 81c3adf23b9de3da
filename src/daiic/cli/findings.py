"""What `daiic doctor` can find, as values: how bad, about what, and what to do."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `advice` is empty when there is nothing to do."""

    level: Level
    subject: str
    says: str
    advice: str = ""
