"""The API over the log, and what every address of the API is made of."""
