"""Snapshots: the way back, content-addressed, signed, verified before anything is restored."""
