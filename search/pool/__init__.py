"""The pool: runs chunks of fits on supervised worker processes, or on any executor, and hands back results as they end.

    chunks --> Tasks --a chunk--> worker: work(problem, chunk) --each result as it ends--> handle(fit, result), in the caller
                 ^                  |
                 '-- what is left --'-- its process dies, or is killed since it takes too long; another one is started

Why not `concurrent.futures.ProcessPoolExecutor`? The death of one of its processes breaks it as a whole, it cannot kill one
that hangs, and a chunk's results come back together at its end. Here each worker has a pipe of its own. So a death costs
the fit that was being trained, which is tried again, alone; a fit that has cost three workers their lives is handed over
as crashed, and the others go on.

The workers are spawned, get the problem once each, use one BLAS thread each, and live no longer than the process that
started them, however that one ends.
"""

from search.pool.builders import check_build
from search.pool.opening import check_time_limit, open_pool, worker_count
from search.pool.tasks import Chunk, Handler, Pool, Work

__all__ = ["Chunk", "Handler", "Pool", "Work", "check_build", "check_time_limit", "open_pool", "worker_count"]
