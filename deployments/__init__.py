"""How quintet is run: the command line, what `quintet apply` makes true, services beside Prefect and the sandbox."""
