"""What models are for, and the routes that ask them for it: a request for another kind of model is told its route."""

from __future__ import annotations

from collections.abc import Sequence

from weft.pooling_params import EMBED_AND_TOKEN_CLASSIFY
from weft.server.errors import ApiError

# Task of an engine -> (what the route does, the routes).
ROUTES_OF = {
    "generate": ("generates text", ("/v1/chat/completions", "/v1/completions")),
    "embed": ("makes embeddings", ("/v1/embeddings", "/rerank")),
    "token_embed": ("gives the states of tokens", ("/pooling",)),
    "classify": ("classifies texts", ("/classify",)),
    "token_classify": ("classifies tokens", ("/pooling",)),
    EMBED_AND_TOKEN_CLASSIFY: ("makes embeddings and classifies tokens", ("/pooling",)),
}


def require_task(path: str, needed: str, tasks: Sequence[str]) -> None:
    """ApiError 400 unless a model with `tasks` has the task that `path` needs. It names routes that work here."""
    if needed in tasks:
        return
    wanted = ROUTES_OF[needed][0] if needed in ROUTES_OF else f"has the task {needed!r}"
    there = list(dict.fromkeys(path for task in tasks for path in ROUTES_OF.get(task, ("", ()))[1]))
    raise ApiError(400, f"{path} needs a model that {wanted}; the tasks of this server's model are {', '.join(tasks)}: "
                   f"send {', '.join(there) or 'something else'}.", "model")
