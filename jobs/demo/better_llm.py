"""Says which command labels the demo with a better LLM, where a model hub has one.

The hub (HF_ENDPOINT, or huggingface_hub's own) gets one HEAD request and five seconds. Offline, or
where HF_HUB_OFFLINE is set, nothing is said.
"""

import threading
from http.client import HTTPException
from typing import Any
from urllib.request import HTTPRedirectHandler, Request, build_opener

from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

MODEL = "Qwen/Qwen2.5-1.5B-Instruct"
"""Of the smallest size whose names and descriptions were seen to fit (methods 19)."""
PATIENCE_S = 5.0


def main() -> None:
    """One line, or nothing."""
    if not HF_HUB_OFFLINE and hub_has(MODEL):
        print(f"A better LLM writes better labels: bash jobs/demo.sh --llm {MODEL}")


class _NoRedirect(HTTPRedirectHandler):
    """One request is one request; to be sent elsewhere is no answer."""

    def redirect_request(self, *_: Any) -> None:
        return None


def hub_has(model: str) -> bool:
    """Whether the hub answers in time that it has the model; looking up its address counts."""
    found = threading.Event()

    def ask() -> None:
        try:
            request = Request(f"{ENDPOINT}/{model}", method="HEAD")
            with build_opener(_NoRedirect).open(request, timeout=PATIENCE_S):
                found.set()
        except (OSError, ValueError, HTTPException):
            pass

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE_S)
    return found.is_set()


if __name__ == "__main__":
    main()
