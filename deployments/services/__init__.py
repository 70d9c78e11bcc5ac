"""Long-running processes beside Prefect."""
