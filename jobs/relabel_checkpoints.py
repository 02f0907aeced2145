"""One poll of a series of checkpoints, for cron, a Kubernetes CronJob or a RayCronJob.

The same as `ray-autointerp relabel CONFIG`. Two at once label each checkpoint once; what a poll
that died left undone, the next one continues.
"""

import sys

from ray_autointerp.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "relabel")
    main()
