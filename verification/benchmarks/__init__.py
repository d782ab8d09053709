"""Benchmarks: registered checks with real measurements, compared with a golden run."""
