"""The pool: runs chunks of fits on supervised worker processes, or on any executor, and returns each result as it ends.

    chunks --> Tasks --a chunk--> worker: work(problem, chunk) --each result as it ends--> handle(fit, result), in the caller
                 ^                  |
                 '-unfinished fits--'-- its process dies, or is killed because it takes too long; another one is started

Why not `concurrent.futures.ProcessPoolExecutor`? If one of its processes dies, the whole executor is broken. It cannot kill a
process that hangs. And the results of a chunk arrive together, at its end. Here each worker has its own pipe. If a worker dies,
only the fit that was being trained is lost, and it is tried again, alone. A fit whose worker has died three times is reported
as crashed, and the search continues.

Workers are spawned. Each gets the problem once and uses one BLAS thread. A worker ends with the process that started it,
however that process ends.
"""

from search.pool.builders import check_build
from search.pool.opening import check_pool, open_pool, worker_count
from search.pool.tasks import Pool

__all__ = ["Pool", "check_build", "check_pool", "open_pool", "worker_count"]
