"""Texts for any API: tasks are run here, and each API says how it writes down their answers."""
