"""The tests; see CONTRIBUTING.md."""

import os

os.environ.setdefault("TQDM_DISABLE", "1")  # as the command line does; read when tqdm is imported, with torch
