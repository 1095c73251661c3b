"""The same trainings, one library a file; each class makes a `harness.Runner` of a Problem."""
