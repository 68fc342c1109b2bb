"""Tests of loadgen."""
