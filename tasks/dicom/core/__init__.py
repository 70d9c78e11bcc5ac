"""The gateway's rules and ledger as plain functions: no Prefect, no blocks, no commits."""
