"""Flows of the trader leaderboard."""
