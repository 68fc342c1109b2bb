"""Channels: tests of what only channels have."""
