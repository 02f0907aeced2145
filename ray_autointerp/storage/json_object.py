"""JSON objects on a store: manifests and quarantine notes, readable by people, written once."""

import json
from typing import Any

from ray_autointerp.errors import StoreError
from ray_autointerp.storage.store import Store


def put_json_if_absent(store: Store, name: str, value: Any) -> bool:
    """Write a JSON value unless the object exists; keys sorted, no NaN. True if this call did."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return store.put_if_absent(name, f"{text}\n".encode())


def get_json(store: Store, name: str) -> Any:
    """The JSON value; MissingObject if it is not there, StoreError if it is not JSON."""
    try:
        return json.loads(store.get(name))
    except ValueError as error:
        raise StoreError(f"{name} in {store.uri} is not JSON: {error}") from error
