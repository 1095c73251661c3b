"""The same trainings, one library in each file. Each class is a `harness.Runner` of a Problem."""
