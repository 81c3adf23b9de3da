"""Hypothesis without deadlines: how long an example takes says how busy the machine is."""

from hypothesis import settings

settings.register_profile("daiic", deadline=None)
settings.load_profile("daiic")
