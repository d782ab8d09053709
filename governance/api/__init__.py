"""The API over governance, and over contracts, which are proposed through it."""
