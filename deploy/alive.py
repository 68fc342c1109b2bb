"""Health check of a node's container: exit 0 while its loop answers on the operations port.

Alive, not ready: a node that drains or waits for Redis must not be killed for it. Who gets
traffic is the balancer's question, and it asks `/health/ready`.
"""

import os
import sys
import urllib.request

port = int(os.environ.get("PEYK_OPS_PORT", "8100"))
try:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=2) as answer:
        sys.exit(answer.status != 200)
except OSError:
    sys.exit(1)
