"""The errors of a search. Each is one line that says what was found and what to do."""


def one_line(error: BaseException) -> str:
    r"""Return the type and the message of an exception, without line breaks.

    Examples
    --------
    >>> one_line(ValueError("no such\n  activation"))
    'ValueError: no such activation'
    """
    return " ".join(f"{type(error).__name__}: {error}".split())


class SearchError(Exception):
    """A search, or a re-training of its best configurations, cannot go on.

    Examples
    --------
    >>> raise SearchError("a worker process died; run again to go on")
    Traceback (most recent call last):
    search.errors.SearchError: a worker process died; run again to go on
    """


class StoreError(SearchError):
    """A store cannot be opened, read or written; or it is damaged, in use, or belongs to another search."""
