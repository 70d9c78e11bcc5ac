from .cards import show_failures as show_failures
from .cards import show_player_card as show_player_card
from .matches import sync_match_data_atomic as sync_match_data_atomic
from .matches import sync_matches as sync_matches
from .players import sync_player_data as sync_player_data
from .timelines import sync_match_timeline_atomic as sync_match_timeline_atomic
