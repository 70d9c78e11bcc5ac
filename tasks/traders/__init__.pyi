from .boards import show_leaderboard as show_leaderboard
from .leaderboard import calculate_leaderboard as calculate_leaderboard
