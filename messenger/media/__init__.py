"""Uploads. Not built yet: its rpcs answer FEATURE_OFF."""
