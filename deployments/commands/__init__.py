"""One module per command of `quintet`, each with a Typer `app`; imported when its command is called."""
