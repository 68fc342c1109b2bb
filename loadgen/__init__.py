"""The load lab: virtual people, their ledger, benchmarks."""
