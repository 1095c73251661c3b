"""The TOML file that describes a search to the command line. It is checked completely before anything runs.

    keys --> builders --> data, strategies, splitters --> settings: Settings      each imports only from those before it

A minimal one, for a table with a header of which one column is predicted:

    [data]
    train = "train.csv"        # in the folder of this file
    target = "price"

    [grid]
    hidden = [[10, 10], [75, 50]]
    lr = [0.1, 0.05]

Without `target`, the table has numbers only, no header, and the last column is y.
"""

from search.command.settings.builders import own_models
from search.command.settings.data import PlainTable
from search.command.settings.keys import SettingsError
from search.command.settings.settings import Settings, check_builder, parse_settings, read_settings

__all__ = ["PlainTable", "Settings", "SettingsError", "check_builder", "own_models", "parse_settings", "read_settings"]
