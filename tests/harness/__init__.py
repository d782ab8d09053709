"""What the tests stand on: settings, servers and people. Nothing here is imported by the product."""
