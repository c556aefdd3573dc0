"""How Kaggle says no: with an HTTP status, and a body in which its sentence lies nested, or in an answer that is otherwise a success."""

import json

STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}


class Denied(Exception):
    """A request that is answered with an HTTP status of 400 or more, and a message."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code, self.message = code, message

    @property
    def body(self) -> bytes:
        """Nested, so that the client shows the status alone."""
        return json.dumps({"error": {"code": self.code, "message": self.message, "status": STATUSES[self.code]}}).encode()


def no_gpu(running: int, used: float, reserved: float, limits) -> str | None:
    """Kaggle's own sentence for why no GPU session may start now; None where one may. used, reserved: seconds of this week."""
    hours = limits.week_seconds / 3600
    if running >= limits.sessions:
        return f"Maximum batch GPU session count of {limits.sessions} reached."
    if used >= limits.week_seconds:
        return f"Maximum weekly GPU quota of {hours:.2f} hours reached."
    if used + reserved >= limits.week_seconds:
        return (
            f"Session cannot start because currently running sessions are projected to exceed maximum weekly GPU quota of {hours:g}. "
            "Cancelling running sessions may allow starting new sessions."
        )
    return None


def no_cpu(running: int, limits) -> str | None:
    """The same for a session without a GPU."""
    return f"Maximum batch CPU session count of {limits.cpu_sessions} reached." if running >= limits.cpu_sessions else None


def check_kernel(slug: str, request: dict, kernels: dict, limits) -> str | None:
    """What is wrong with a kernel to be saved: a sentence, or Denied; None for nothing. kernels: {slug: versions} of the account."""
    versions, title = kernels.get(slug, []), request.get("newTitle")
    if len(request["text"].encode()) >= limits.source_bytes:
        raise Denied(400, "The kernel source must be less than 1 megabytes in size.")
    if len(slug) < 5:
        return "Notebook slug must be at least five characters"
    if title and any(title == theirs[-1].request.get("newTitle") for name, theirs in kernels.items() if name != slug):
        raise Denied(409, f'The requested title "{title}" is already in use by a notebook. Please choose another title.')
    if versions and versions[0].request["kernelType"] != request["kernelType"]:
        return "Notebook type cannot be changed"
    return None
