"""What `import vllm` finds in the processes that a script starts, when `python -m weft.compat.vllm` runs the script."""

import sys

from weft.compat.vllm.finder import install

sys.modules[__name__] = install()
