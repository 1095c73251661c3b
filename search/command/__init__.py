"""The command line of a search: `python -m search run | status | rank | retrain | report | export STORE`.

    search.toml --settings--> Settings --actions: run--> STORE --actions: status, rank, retrain, report, export--> people, files

The store contains the text of the TOML file, so every command after `run` needs only the store.
"""
