"""A stand-in for Hyperliquid: `python -m deployments.sandbox.exchange --help`.

It is a real server, WebSocket (`/ws`) and HTTP (`POST /info`) on one port, with the exchange's frames, answers and
limits, over a market that it makes up from a seed: traders with planted skill, each with a past, who trade with each
other while it runs. It keeps every trade and what it made of every position (`GET /__truth`), shares no code with what
it tests, and can be told to misbehave in all the ways the exchange does.
"""
