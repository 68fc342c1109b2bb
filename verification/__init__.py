"""Badges for verified accounts. Not built yet: its rpcs answer FEATURE_OFF."""
