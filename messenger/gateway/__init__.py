"""Sockets: bytes into commands, updates into bytes."""
