"""What runs models: one folder an engine, and what all of them have in common.

`interface` says what an engine must do, `loading` finds the one for a model.
`torch` is what the engines share that run on torch in this process.
"""
