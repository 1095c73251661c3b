"""The store: one SQLite file of finished fits, so that a search can be stopped at any time and resumed.

    Outcome --add--> one row, checked and committed --outcomes--> Outcome, the same to the bit

rows.py         turns outcomes into rows and back
file.py         recognises a store and creates a new one
differences.py  says how two searches differ
fingerprint.py  describes what the results of a search depend on
owner.py        lets only one process write a store
place.py        notices that the file was moved, removed or replaced
fork.py         chooses the results that a new store copies from another
store.py        is what a search uses
"""

from search.store.owner import owner_of
from search.store.store import Progress, Store

__all__ = ["Progress", "Store", "owner_of"]
