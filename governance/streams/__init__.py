"""The live stream: a tail of the log in each web process, shown to everybody as far as they may see it."""
