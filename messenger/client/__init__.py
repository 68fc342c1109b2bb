"""A client of the platform: frames and sync rules, used by tests and the load lab."""
