"""A model that answers with JSON."""

from typing import Any


class Model:
    """Made once for each process of the server."""

    def __init__(self, **kwargs: Any) -> None:
        """Keep what `load` needs of kwargs: config, data_dir, secrets, environment."""
        self._data_dir = kwargs["data_dir"]
        self._greeting = ""

    def load(self) -> None:
        """Load weights here; no request is answered before."""
        self._greeting = "You said"

    def predict(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request: the JSON that was sent gives the JSON that is returned."""
        return {"output": f"{self._greeting}: {request['prompt']}"}
