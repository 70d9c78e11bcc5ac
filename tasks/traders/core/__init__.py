"""Rules of the trader leaderboard: no Prefect, no blocks; sessions, times and settings are arguments."""
