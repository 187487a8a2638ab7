"""All that is compiled. Nothing here imports from the floor above.

Letters used throughout: B rows of a batch, I fan-in, O fan-out, L layers, V lanes of a vector register.
"""
