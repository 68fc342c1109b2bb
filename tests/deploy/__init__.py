"""Tests of the files that start the platform in containers."""
