"""The API over missions, incidents, playbooks and summaries."""
