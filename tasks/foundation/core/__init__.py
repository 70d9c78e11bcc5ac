"""Foundations that know neither Prefect nor an outside system: columns, leases, backoff."""
