"""The API over verification: discovery, snapshots, benchmarks, jobs."""
