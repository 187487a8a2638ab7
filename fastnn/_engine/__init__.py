"""Buffers, tables and threads of one net."""
