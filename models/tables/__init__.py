"""Tables of one's own: from a file to the arrays, the network and the predictions.

    cells, formats, dates --> header, text, frames, files --> columns, targets, roles, description
                                       --> encoder, embedding, builder --> model --> table

`read_table` reads a file and says what it read. The description of its columns goes with a model into its file.
"""

from models.tables.builder import TableBuilder
from models.tables.cells import TableError, TableWarning
from models.tables.columns import Column
from models.tables.description import Description
from models.tables.embedding import CategoryEmbedding
from models.tables.encoder import ColumnEncoder
from models.tables.model import TableModel
from models.tables.table import Table, read_table

__all__ = [
    "CategoryEmbedding",
    "Column",
    "ColumnEncoder",
    "Description",
    "Table",
    "TableBuilder",
    "TableError",
    "TableModel",
    "TableWarning",
    "read_table",
]
