"""A stand-in for the Riot API: `python -m deployments.sandbox.riot --help`.

It is a real HTTP server with Riot's endpoints, error bodies and rate limits, over a corpus of players and matches that
it makes up from a seed. It keeps what it was asked and what the right result is (`GET /__truth`), shares no code with
what it tests, and can be told to misbehave in all the ways Riot does.
"""
