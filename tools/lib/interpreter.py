"""Finds a Python that has the modules a script needs; distributions and version managers keep several side by side."""
import os
import shutil
import subprocess
import sys


def with_modules(*modules):
    """Path of the first interpreter that has all the modules, or None."""
    for python in (sys.executable, shutil.which("python3"), "/usr/bin/python3"):
        if python and os.path.exists(python):
            # Finding a module is much faster than importing it.
            code = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {modules!r})))"
            if subprocess.run([python, "-c", code], capture_output=True).returncode == 0:
                return python
    return None


def require(*modules):
    """Goes on under an interpreter that has the modules (restarting the script), or ends with a sentence."""
    python = with_modules(*modules)
    if python is None:
        sys.exit(f"{os.path.basename(sys.argv[0])}: no Python here has {', '.join(modules)}; install "
                 f"{' '.join('python3-' + m for m in modules)} (or: bash tools/lib/setup.sh peer)")
    if python != sys.executable:
        os.execv(python, [python] + sys.argv)
