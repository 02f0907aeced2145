"""Label whole SAEs: what `ray job submit -- python jobs/label_sae.py CONFIG` runs.

The same as `ray-autointerp label CONFIG`. Killed, it is continued by the same command.
"""

import sys

from ray_autointerp.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "label")
    main()
