"""`http.request`: calls an allow-listed API."""
