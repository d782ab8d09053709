"""`config.update`: changes a configuration file below an allowed root."""
