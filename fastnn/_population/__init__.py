"""Populations: many nets trained at the same time, by engines with one interface."""
