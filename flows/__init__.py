"""Prefect flows, one package per domain: order, fan-out and waiting, nothing else."""
