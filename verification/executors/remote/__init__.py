"""`remote`: hands work to an external agent, which claims a permit for it."""
