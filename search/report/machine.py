"""The machine of a search: the processor, the system, and the versions that its numbers may depend on."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from threadpoolctl import threadpool_info

from search.pool import worker_count

PACKAGES = ("tinygrad-lab", "numpy", "scipy", "numba")


def machine_facts() -> list[tuple[str, str]]:
    """Return names and values that describe this machine to a reader.

    Examples
    --------
    >>> [name for name, _ in machine_facts()]
    ['processor', 'processors that may be used', 'system', 'Python', 'packages', 'linear algebra']
    """
    return [
        ("processor", _processor()),
        ("processors that may be used", str(worker_count(None))),
        ("system", platform.platform(terse=True)),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("packages", ", ".join(f"{name} {known}" for name in PACKAGES if (known := _version(name)))),
        ("linear algebra", _linear_algebra()),
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _linear_algebra() -> str:
    libraries = {f"{pool['internal_api']} {pool['version']}" for pool in threadpool_info() if pool["user_api"] == "blas"}
    return ", ".join(sorted(libraries)) or "unknown"
