"""The console: pages for people, rendered on the server. What changes something makes one domain call."""
