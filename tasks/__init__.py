"""Prefect tasks, one package per domain. Each task does one retryable thing to the outside world."""
