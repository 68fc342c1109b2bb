"""Broadcast channels: one voice, many readers. What only channels have; the rest is the core's."""
