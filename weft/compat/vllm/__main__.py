"""`python -m weft.compat.vllm SCRIPT [arguments]`: runs a script whose imports say `vllm`, unchanged.

Processes that the script starts see weft's `vllm` too. `-m MODULE` runs a module, as Python's own option does.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from weft.compat.vllm.finder import install
from weft.compat.vllm.version import SHIM

USAGE = "usage: python -m weft.compat.vllm [-m MODULE | SCRIPT] [arguments]"


def main() -> int:
    """Run the script of the command line. Returns 2 without one."""
    arguments = sys.argv[1:]
    is_module = arguments[:1] == ["-m"]
    arguments = arguments[is_module:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, file=sys.stderr if not arguments else sys.stdout)
        return 0 if arguments else 2
    script = arguments[0]
    if not is_module and not Path(script).is_file():
        print(f"weft: error: {script} is no file. {USAGE}", file=sys.stderr)
        return 2
    os.environ["PYTHONPATH"] = os.pathsep.join([str(SHIM), *filter(None, [os.environ.get("PYTHONPATH")])])
    sys.path.insert(1, str(SHIM))      # multiprocessing hands the path on; subprocesses read the variable
    install()
    sys.argv = arguments
    if is_module:
        runpy.run_module(script, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(script).resolve().parent)
        runpy.run_path(script, run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
