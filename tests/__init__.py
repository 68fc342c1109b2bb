"""Tests are the specification; a package mirroring the packages."""
