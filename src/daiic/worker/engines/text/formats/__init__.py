"""How families of language models write reasoning and calls of tools into their text.

A `Format` says how one does, `families` which one a model has, `lark` what holds the model to it,
and a `Reader` takes the text apart, piece by piece.
"""
