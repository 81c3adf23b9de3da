"""How deeply a value that came as JSON is nested, found out without recursion."""

from typing import Any


def depth_of(value: Any) -> int:
    """Return 1 for what has nothing inside, and one more for each list or object around it."""
    deepest, left = 0, [(value, 1)]
    while left:
        node, depth = left.pop()
        deepest = max(deepest, depth)
        if isinstance(node, dict):
            left.extend((child, depth + 1) for child in node.values())
        elif isinstance(node, list):
            left.extend((child, depth + 1) for child in node)
    return deepest
