"""Compiled code. No module of this package imports from outside of it.

Letters used throughout: B rows of a batch, I fan-in, O fan-out, L layers, V lanes of a vector register.
"""
