"""Texts that programs say: what makes them say each, and what their clients get."""
