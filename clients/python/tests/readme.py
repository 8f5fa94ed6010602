"""Runs the programs of a README, and compares what they print: `readme.py README.md`"""

import pathlib
import re
import subprocess
import sys

text = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")
programs = re.findall(r"```python\n# program: ([^\n]+)\n(.*?)```\n+```text\n(.*?)```", text, re.DOTALL)
assert len(programs) >= 4, "the README has no programs"
for name, program, expected in programs:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    if done.returncode or done.stdout != expected:
        sys.exit(f"README, {name}: exit code {done.returncode}\n{done.stderr}\nprinted:\n{done.stdout}\nexpected:\n{expected}")
print(f"README: {len(programs)} programs print what it says")
