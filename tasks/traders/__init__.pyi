from .boards import show_leaderboard as show_leaderboard
from .histories import refresh_trader_history as refresh_trader_history
from .leaderboard import calculate_leaderboard as calculate_leaderboard
