"""Times as APIs write them that do not count seconds."""

from datetime import UTC, datetime


def rfc3339(seconds: float) -> str:
    """Return the time `seconds` after the Epoch, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
