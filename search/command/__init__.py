"""The command line of a search: `tinygrad-lab`, or `python -m search`, with a command and a STORE.

    search.toml --settings--> Settings --run--> STORE --status, rank, retrain, report, export--> people, files
                                                      --save--> model --predict new.csv--> predictions.csv

The store contains the text of the TOML file, so every command after `run` needs only the store. If it would import a builder,
and the settings are not of a run of this user, it needs the TOML file or --trust too.

The exit code is 0 for success, 1 for an error, which is one line on standard error, 2 for wrong arguments, and 130 for Ctrl-C.
"""
