"""Queries of the accounts package; every statement names its distribution key."""
