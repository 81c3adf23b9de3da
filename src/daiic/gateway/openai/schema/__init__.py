"""The bodies that clients send and receive, as OpenAI defines them, a file for each endpoint.

Fields that are not here are ignored, as OpenAI's own servers ignore hints that
they do not know. Fields that would change the answer, but that workers cannot
honour, are here so that they can be refused by name.
"""
