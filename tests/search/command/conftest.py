"""The tests of the command line leave no key in the home folder of whoever runs them."""

import pytest


@pytest.fixture(autouse=True)
def state_folder(tmp_path_factory, monkeypatch):
    """The folder of the user's key, which the processes that a test starts inherit."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder
