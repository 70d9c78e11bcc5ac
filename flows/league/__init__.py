"""Flows of League of Legends: players, matches, timelines, and what keeps them whole."""
