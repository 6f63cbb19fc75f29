"""The one error that a client sees, in OpenAI's shape."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """A request that is refused or fails: an HTTP status and one sentence."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        retry_after_seconds: int | None = None,
    ):
        """Keep the parts; ``param`` names the field at fault, as ``messages[0].content[1]``."""
        super().__init__(message)
        self.status, self.param, self.code = status, param, code
        self.retry_after_seconds = retry_after_seconds

    @property
    def type(self) -> str:
        """OpenAI's name for the kind of error."""
        if self.status == 429:
            return "rate_limit_error"
        return "invalid_request_error" if self.status < 500 else "server_error"

    def payload(self) -> dict[str, Any]:
        """Return the JSON body."""
        return {"error": {"message": str(self), "type": self.type, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """Return the headers that go with it."""
        headers = {} if self.retry_after_seconds is None else {"Retry-After": str(self.retry_after_seconds)}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


def wrong(param: str, message: str, code: str | None = None) -> ApiError:
    """Return a 400 that names a field and says what to do."""
    return ApiError(400, f"{param}: {message}", param, code)
