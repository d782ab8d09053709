"""The console: pages for people, rendered on the server. A page that changes something makes one domain call."""
