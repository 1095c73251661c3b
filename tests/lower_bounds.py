"""Print the oldest versions that pyproject.toml allows, as constraints for pip: `python tests/lower_bounds.py > oldest.txt`.

    numpy>=2.0    -->    numpy==2.0

A test run with these versions shows that the bounds are true. The tools of developers are left out, as are extras that only
test, measure or document.
"""

import re
import tomllib
from pathlib import Path

TOOLS = {"test", "dev", "bench", "docs"}

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = [name for name in project["optional-dependencies"] if name not in TOOLS]
requirements = {*project["dependencies"], *(x for name in extras for x in project["optional-dependencies"][name])}

for requirement in sorted(requirements):
    name, bound = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
    print(f"{name}=={bound}")
