"""Rows: validation, conversion, class weights."""
