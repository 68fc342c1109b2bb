"""Catch-up by numbers: heads, difference, check."""
