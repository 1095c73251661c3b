"""The store: one SQLite file of finished fits, so that a search which is stopped anywhere goes on where it was.

    Outcome --add--> one row, checked and committed --outcomes--> Outcome, the same to the bit

file.py recognises a store and lays out a new one, owner.py lets one process write it, rows.py turns outcomes into rows and
back, fork.py chooses what a new one takes over from another, store.py is what a search uses.
"""

from search.store.owner import owner_of
from search.store.store import Progress, Store

__all__ = ["Progress", "Store", "owner_of"]
