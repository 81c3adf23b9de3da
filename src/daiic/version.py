"""The version of the installed package. pyproject.toml is where it is written."""

from importlib.metadata import version

VERSION = version("daiic")
