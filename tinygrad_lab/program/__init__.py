"""Programs: a computation recorded once, flattened to a list of NumPy calls, and replayed without building graphs.

capture(step, inputs, state)                                                         (`capture`)
    run the step under a recording, twice, and compare     --> lines: v7 = multiply(v3, v6)
    merge common lines, drop dead ones                     --> fewer lines           (`passes`)
program.lanes(n) : n copies side by side                   --> the same lines        (`lanes`)
program.bind()                                                                       (`program`)
    one buffer for each result, shared by lifetime; each view is made once           (`memory`)
    copy the inputs in; for f, args in calls: f(*args); copy the outputs out; commit the state last      (`replay`)
"""

from tinygrad_lab.program.capture import capture
from tinygrad_lab.program.lines import Line, Value
from tinygrad_lab.program.passes import drop_dead, merge_common, number
from tinygrad_lab.program.program import Program
from tinygrad_lab.program.replay import BoundProgram

__all__ = ["BoundProgram", "Line", "Program", "Value", "capture", "drop_dead", "merge_common", "number"]
