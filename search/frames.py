"""Tables as pandas data frames, each column with the type of its values."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_lab.checks import install_hint

if TYPE_CHECKING:
    import pandas as pd

INT64 = range(-(2**63), 2**63)


def data_frame(
    parameters: Sequence[str], configurations: Sequence[Sequence[Any]], names: Sequence[str], rows: Sequence[Sequence[Any]]
) -> "pd.DataFrame":
    """Return a data frame of configurations beside other columns.

    Integers of up to 64 bits become ``Int64``, booleans ``boolean``, integers and floats ``float64``, text of a parameter
    ``category``, other text ``str``, and anything else ``object``. None is a missing value; in a column of floats, that is NaN.

    Parameters
    ----------
    parameters : sequence of str
        The parameters of the configurations. One that has the name of another column is named ``param_NAME``, as in
        scikit-learn.
    configurations : sequence of sequence
        For each row, a value for each parameter. None is a missing one.
    names : sequence of str
        The other columns. The first of them is the first column, the rest follow the parameters.
    rows : sequence of sequence
        For each row, its values for `names`.

    Raises
    ------
    ImportError
        If pandas is not installed.

    Examples
    --------
    >>> frame = data_frame(["units", "act"], [[8, "relu"], [None, "tanh"]], ["rank", "loss"], [[1, 0.5], [2, 1]])
    >>> [str(kind) for kind in frame.dtypes]
    ['Int64', 'Int64', 'category', 'float64']
    >>> frame["units"].isna().tolist()
    [False, True]
    """
    try:
        import pandas as pd
    except ImportError:
        raise ImportError(f"to_frame needs pandas: {install_hint('tables')}") from None
    given = [f"param_{name}" if name in names else name for name in parameters]
    columns = {name: _column([row[i] for row in rows], "str") for i, name in enumerate(names)}
    columns |= {name: _column([row[i] for row in configurations], "category") for i, name in enumerate(given)}
    return pd.DataFrame({name: columns[name] for name in (*names[:1], *given, *names[1:])})


def _column(values: list[Any], text: str) -> "pd.Series[Any]":
    """Return values as a series of the type that fits all of them; `text` is the type of a column of text."""
    import pandas as pd

    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        dtype = "boolean"
    elif kinds == {int}:
        dtype = "Int64" if all(value is None or value in INT64 for value in values) else "object"
    elif kinds and kinds <= {int, float}:
        dtype = "float64"
    elif kinds == {str}:
        dtype = text
    else:
        dtype = "object"
    return pd.Series(values, dtype=dtype)
