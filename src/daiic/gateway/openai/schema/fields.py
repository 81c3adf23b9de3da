"""The types of fields that several endpoints have."""

from typing import Annotated

from msgspec import Meta

ModelName = Annotated[str, Meta(min_length=1, max_length=256)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
TokenId = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Effort = Annotated[str, Meta(pattern=r"^[a-z]+(?!\n)$", max_length=16)]
"""How much the model should think, as its chat template knows it: "none", "low", "high" …"""
