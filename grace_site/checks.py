"""System checks: combinations of settings that start but should not, each with an id and a hint."""
