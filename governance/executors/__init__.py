"""Executors of what governance itself can be asked to do."""
