"""Mutation testing: change the source a little, and see whether a test fails.

    python -m tests.mutation                                                    # autodiff, program and codegen
    python -m tests.mutation --sample 100 tinygrad_lab/codegen/passes.py        # less

    source --Cosmic Ray's operators--> mutants --fork, replace the code in memory--> run the tests of the line until one fails

*Why this driver?* Cosmic Ray makes the mutants, but it starts one pytest per mutant, which takes seconds. Here pytest collects
the tests once. One run of them tells which lines each test executes. Each mutant is a fork of that process. It replaces the
code of the mutated function and runs the tests that execute the mutated line, shortest first. Code that runs at import, such
as a constant, cannot be replaced. A mutant of it gets a new process, which imports it and runs all tests.

A survivor that no test can kill is listed with the reason in `equivalent_mutants.txt`.
"""

import argparse
import ast
import gc
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType

import coverage
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

FOLDERS = ["tinygrad_lab/autodiff", "tinygrad_lab/program", "tinygrad_lab/codegen"]
PYTEST = ["-q", "-x", "-o", "addopts=", "-n", "0", "-p", "no:cacheprovider"]
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")

# One or two replacements for each operator. Cosmic Ray has eleven: most of them end in a TypeError, which any test finds.
OPERATORS = [
    *["ReplaceBinaryOperator_" + x for x in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_FloorDiv")],
    *["ReplaceBinaryOperator_" + x for x in ("Pow_Mul", "BitOr_BitAnd", "BitAnd_BitOr", "LShift_RShift")],
    *["ReplaceComparisonOperator_" + x for x in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is", "Lt_LtE", "Lt_GtE")],
    *["ReplaceComparisonOperator_" + x for x in ("LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt")],
    *["ReplaceUnaryOperator_Delete_" + x for x in ("Not", "USub", "Invert")],
    *["NumberReplacer", "AddNot", "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue"],
    *["ZeroIterationForLoop", "ExceptionReplacer", "ReplaceContinueWithBreak", "ReplaceBreakWithContinue", "RemoveDecorator"],
]
STARS = {"parameters", "param", "argument", "star_expr", "lambdef"}  # of *arguments and **options, which are no operators


def tests_of(paths: list[str]) -> list[str]:
    """The tests of the mutated folders, and of those below them, which use them."""
    first = min(i for i, folder in enumerate(FOLDERS) if any(path.startswith(folder) for path in paths))
    native = not any(path.endswith("native.py") for path in paths)  # the cache of machine code: long tests of one file
    return [f"tests/{folder}" for folder in FOLDERS[first:]] + ["--ignore=tests/tinygrad_lab/codegen/test_native.py"] * native


# Mutants -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mutant:
    """The `occurrence`-th place in a file where an operator applies.

    `lines` are those of the smallest statement around it. `in_function` is False for code that runs at import.
    """

    path: str
    operator: str
    occurrence: int
    line: int
    lines: range
    in_function: bool

    def code(self) -> str:
        return mutate_code(source(self.path), get_operator(f"core/{self.operator}")(), self.occurrence)

    def __str__(self) -> str:
        before, after = (text.splitlines()[self.line - 1].strip() for text in (source(self.path), self.code()))
        return f"{self.path}\n    {before}\n    {after}"


@cache
def source(path: str) -> str:
    return Path(path).read_text()


def find_mutants(path: str) -> list[Mutant]:
    """List the mutants of a file, without those of annotations, error messages, zip(strict=) and Op(smooth=)."""
    tree = ast.parse(source(path))
    leaves = list(ast_nodes(get_ast(source(path))))
    nodes = list(ast.walk(tree))
    skipped = [part for x in nodes for name in ("annotation", "returns") if (part := getattr(x, name, None))]
    skipped += [x.exc for x in nodes if isinstance(x, ast.Raise) and x.exc]
    skipped += [x.value for x in nodes if isinstance(x, ast.keyword) and x.arg in ("strict", "smooth")]
    functions = [(x.body[0], x) for x in nodes if isinstance(x, ast.FunctionDef)]
    functions += [(x.body, x) for x in nodes if isinstance(x, ast.Lambda)]
    statements = sorted((x for x in nodes if isinstance(x, ast.stmt | ast.Lambda)), key=lambda x: (x.lineno, x.col_offset))

    def is_in(at: tuple[int, int], first: ast.AST, last: ast.AST) -> bool:
        return (first.lineno, first.col_offset) <= at < (last.end_lineno, last.end_col_offset)

    mutants = []
    for operator in OPERATORS:
        rule = get_operator(f"core/{operator}")()
        places = [(node, start) for node in leaves for start, _ in rule.mutation_positions(node)]
        for occurrence, (node, at) in enumerate(places):
            if any(is_in(at, x, x) for x in skipped) or (node.type == "operator" and node.parent.type in STARS):
                continue
            around = [tree.body[-1], *[x for x in statements if is_in(at, x, x)]][-1]
            body = getattr(around, "body", None)
            lines = range(around.lineno, body[0].lineno if isinstance(body, list) else around.end_lineno + 1)
            lines = lines if at[0] in lines else range(at[0], at[0] + 1)  # a decorator, or an `else`
            in_function = any(is_in(at, body, function) for body, function in functions)
            mutants.append(Mutant(path, operator, occurrence, at[0], lines, in_function))
    return mutants


def read_equivalent() -> set[tuple[str, str, str]]:
    """Read the listed mutants: the file, the line before, and the line after or * for all mutants of the line."""
    listed, path, before = set(), "", ""
    for line in EQUIVALENT.read_text().splitlines():
        if not line or line.startswith("#"):
            before = ""
        elif not line.startswith(" "):
            path, before = line, ""
        elif not before:
            before = line.strip()
        else:
            listed.add((path, before, line.strip()))
            before = ""
    return listed


# The process of one mutant -------------------------------------------------------------------------------------------


def changed_code(old: CodeType, new: CodeType) -> list[tuple[CodeType, CodeType]]:
    """List the code objects of a module that differ, outer ones first, each with its replacement."""
    if old == new:
        return []
    inner = [[x for x in code.co_consts if isinstance(x, CodeType)] for code in (old, new)]
    nested = zip(*inner, strict=True) if len(inner[0]) == len(inner[1]) else ()
    return [(old, new), *[pair for x, y in nested for pair in changed_code(x, y)]]


def replace_code(mutant: Mutant, functions: list[FunctionType]) -> bool:
    """Give the functions in memory the mutated code. False if the mutant must be imported."""
    old, new = (compile(text, mutant.path, "exec", dont_inherit=True) for text in (source(mutant.path), mutant.code()))
    found = False
    for before, after in changed_code(old, new):
        for function in functions:
            if function.__code__ == before:
                if before.co_freevars != after.co_freevars:
                    return False
                function.__code__ = after
                found = True
    return found


def run_mutant(mutant: Mutant, items: list[pytest.Item], seconds: dict[str, float], functions: list[FunctionType]) -> None:
    """Run `items` on the mutant. The process ends with 0 only if all of them pass. Time limits are in processor time."""
    if not (mutant.in_function and replace_code(mutant, functions)):
        with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
            json.dump([mutant.path, mutant.code(), [x.nodeid for x in items]], file)
        signal.setitimer(signal.ITIMER_PROF, 30 + 10 * sum(seconds[x.nodeid] for x in items))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.execv(sys.executable, [sys.executable, "-m", "tests.mutation", "--imported", file.name])
    if items:
        items[0].config.pluginmanager.unregister(name="terminalreporter")
    for item in items:
        signal.setitimer(signal.ITIMER_PROF, 2 + 10 * seconds[item.nodeid])
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        if item.session.testsfailed:
            os._exit(1)
    os._exit(0)


def run_imported(file: str) -> int:
    """Run pytest with a mutant imported in place of its file."""
    path, mutated, tests = json.loads(Path(file).read_text())
    os.unlink(file)
    path = str(Path(path).resolve())
    code = compile(mutated, path, "exec", dont_inherit=True)
    get_code = SourceFileLoader.get_code
    SourceFileLoader.get_code = lambda loader, name: code if loader.path == path else get_code(loader, name)
    return int(pytest.main([*PYTEST, *tests]) != 0)


# The run -------------------------------------------------------------------------------------------------------------


class Run:
    """A pytest plugin that runs mutants in place of the collected tests."""

    def __init__(self, mutants: list[Mutant], jobs: int, limit: float, measured: Path | None) -> None:
        self.mutants = mutants
        self.jobs = jobs
        self.limit = limit
        self.measured = measured
        self.survived: set[Mutant] = set()
        self.coverage = coverage.Coverage(data_file=None, include=[f"{x}/*" for x in FOLDERS], config_file=False)
        self.coverage.start()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        seconds, executed = self.measure(session.items)
        items = sorted(session.items, key=lambda item: seconds[item.nodeid])
        functions = defaultdict(list)
        for x in gc.get_objects():
            if isinstance(x, FunctionType):
                functions[x.__code__.co_filename].append(x)
        print(f"\n{len(items)} tests take {sum(seconds.values()):.0f} s of processor time", flush=True)
        running: dict[int, Mutant] = {}
        for mutant in self.mutants:
            file = str(Path(mutant.path).resolve())
            names = {test for line in mutant.lines for test in executed[file][line]}
            chosen, total = [], 0.0
            for item in items:
                if (item.nodeid in names or not mutant.in_function) and total < self.limit:
                    chosen.append(item)
                    total += seconds[item.nodeid]
            if len(running) == self.jobs:
                self.wait_for_one(running)
            if (pid := os.fork()) == 0:
                run_mutant(mutant, chosen, seconds, functions[file])
            running[pid] = mutant
        while running:
            self.wait_for_one(running)
        return True

    def measure(self, items: list[pytest.Item]) -> tuple[dict[str, float], dict[str, dict[int, set[str]]]]:
        """Run the tests without a mutant: the processor time of each, and for each line the tests that execute it."""
        seconds, lines = json.loads(self.measured.read_text()) if self.measured and self.measured.exists() else ({}, [])
        items = [item for item in items if item.nodeid not in seconds]
        with tempfile.TemporaryDirectory() as folder:
            parts = [Path(folder, str(i)) for i in range(self.jobs)]
            for i, part in enumerate(parts):
                if os.fork() == 0:
                    self.measure_part(items[i :: self.jobs], part)
            for _ in parts:
                os.wait()
            self.coverage.stop()
            if not all(part.exists() for part in parts):
                pytest.exit("the tests fail without a mutant", 1)
            for part in parts:
                new_seconds, new_lines = json.loads(part.read_text())
                seconds |= new_seconds
                lines += new_lines
        if self.measured:
            self.measured.write_text(json.dumps([seconds, lines]))
        executed: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        for file, line, tests in lines:
            executed[file][line].update(tests)
        return seconds, executed

    def measure_part(self, items: list[pytest.Item], result: Path) -> None:
        seconds = {}
        for item in items:
            self.coverage.switch_context(item.nodeid)
            start = time.process_time()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            seconds[item.nodeid] = time.process_time() - start
            if item.session.testsfailed:
                print(f"{item.nodeid} fails without a mutant", file=sys.stderr, flush=True)
                os._exit(1)
        data = self.coverage.get_data()
        lines = [(file, *x) for file in data.measured_files() for x in data.contexts_by_lineno(file).items()]
        result.write_text(json.dumps([seconds, lines]))
        os._exit(0)

    def wait_for_one(self, running: dict[int, Mutant]) -> None:
        pid, status = os.wait()
        mutant = running.pop(pid)
        if status == 0:
            self.survived.add(mutant)
            print(f"\n{mutant}", flush=True)


def print_table(mutants: list[Mutant], equivalent: set[Mutant], survived: set[Mutant]) -> None:
    print(f"\n{'folder':<24}{'mutants':>8}{'equivalent':>12}{'killed':>8}{'survived':>10}{'score':>8}")
    for folder in [*FOLDERS, ""]:
        own = {mutant for mutant in mutants if mutant.path.startswith(folder)}
        if not own:
            continue
        alive, skipped = len(own & survived), len(own & equivalent)
        killed = len(own) - skipped - alive
        score = killed / max(killed + alive, 1)  # of those that are not equivalent
        print(f"{folder or 'all':<24}{len(own):>8}{skipped:>12}{killed:>8}{alive:>10}{score:>8.1%}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="Mutation testing.")
    parser.add_argument("paths", nargs="*", default=FOLDERS, help=f"folders or files to mutate; default: {' '.join(FOLDERS)}")
    parser.add_argument("--tests", nargs="+", metavar="PATH", help="the tests to run; default: those of the folders")
    parser.add_argument("--sample", type=int, help="take so many mutants, chosen at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument("--limit", type=float, default=4.0, help="seconds of tests for a mutant, the shortest tests first")
    parser.add_argument("--measured", type=Path, metavar="FILE", help="keep there which lines each test runs, for the next run")
    parser.add_argument("--imported", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["HYPOTHESIS_PROFILE"] = "mutation"
    if options.imported:
        return run_imported(options.imported)
    start = time.perf_counter()
    files = sorted({str(x) for path in map(Path, options.paths) for x in ([path] if path.is_file() else path.rglob("*.py"))})
    mutants = [mutant for file in files for mutant in find_mutants(file)]
    random.Random(options.seed).shuffle(mutants)
    mutants = mutants[: options.sample]
    listed = read_equivalent()
    lines = {x[:2] for x in listed}

    def is_equivalent(mutant: Mutant) -> bool:
        before = source(mutant.path).splitlines()[mutant.line - 1].strip()
        if (mutant.path, before) not in lines:
            return False
        return (mutant.path, before, "*") in listed or tuple(x.strip() for x in str(mutant).split("\n")) in listed

    equivalent = {mutant for mutant in mutants if is_equivalent(mutant)}
    run = Run([mutant for mutant in mutants if mutant not in equivalent], options.jobs, options.limit, options.measured)
    if pytest.main([*PYTEST, *(options.tests or tests_of(files))], plugins=[run]):
        return 1
    print_table(mutants, equivalent, run.survived)
    print(f"{time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
