"""The league ledger and its rules: plain functions over a session. Imports neither Prefect nor blocks."""
