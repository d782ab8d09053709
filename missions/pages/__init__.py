"""Pages of the console about missions, incidents and the days' numbers."""
