"""The command line of a search: `python -m search run | status | rank | retrain | report | export STORE`.

    search.toml --settings--> Settings --actions: run--> STORE --actions: status, rank, retrain, report, export--> people, files

The store keeps the text of the file that its search was described in, so every command after `run` needs the store only.
"""
