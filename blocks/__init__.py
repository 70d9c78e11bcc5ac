"""The outside systems: for each one a Prefect Block (settings and secret), its client, typed answers and errors."""
