"""The routes: who may ask, what is refused and with which status, and what a request costs while it lives."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from earwitness.engines import Request
from earwitness.engines.local import LocalEngine, PromptTooLongError
from earwitness.engines.rows import Row
from earwitness.serve.audio_parts import load_clips
from earwitness.serve.calls import Call, Ending, Piece
from earwitness.serve.claims import Statement, Witness, read_statement
from earwitness.serve.errors import ApiError
from earwitness.serve.metrics import Metrics
from earwitness.serve.places import Places
from earwitness.serve.replies import Completion, Deltas, sse
from earwitness.serve.scheduler import Scheduler
from earwitness.serve.settings import Settings
from earwitness.serve.turns import count_characters
from earwitness.serve.web import add_page
from earwitness.serve.wire import Ask, read_ask, read_json

_LOG = logging.getLogger("earwitness.serve")
_LOADERS = 4  # threads that decode audio and render prompts
_GONE = 499  # the client went away; nobody reads this status but the log and /metrics


class Api:
    """One engine behind HTTP. Made before the event loop runs; everything else happens on it."""

    def __init__(self, engine: LocalEngine, settings: Settings):
        """Wire the parts together; ``scheduler.start`` begins to answer."""
        self.settings, self._engine = settings, engine
        self.scheduler = Scheduler(engine)
        self.metrics = Metrics(self.scheduler)
        self.places = Places(engine.max_batch + settings.max_queue)
        self._longest_token = max(map(len, engine.tokenizer.get_vocab()))
        self._loaders = ThreadPoolExecutor(_LOADERS, thread_name_prefix="earwitness-load")
        self._witness, self._measurer = Witness(), ThreadPoolExecutor(1, thread_name_prefix="earwitness-measure")
        self._calls: set[Call] = set()
        self._started = int(time.time())

    def close(self) -> None:
        """End the threads."""
        self.scheduler.close()
        self._loaders.shutdown(wait=False, cancel_futures=True)
        self._measurer.shutdown(wait=False, cancel_futures=True)

    def cut_off(self) -> None:
        """End what still runs, when the grace period is over; on the event loop only."""
        for call in list(self._calls):
            call.end(ApiError(503, "the server is shutting down; send the request again", retry_after_seconds=5))

    # -- routes --------------------------------------------------------------------------------------------------------

    async def health(self, request: Any) -> Any:
        """``GET /health``: 200 while requests are taken, 503 while the server drains."""
        status = {"status": "draining" if self.places.draining else "ok", "model": self.settings.name}
        return _json(status, 503 if self.places.draining else 200)

    async def models(self, request: Any) -> Any:
        """``GET /v1/models``."""
        self._check_key(request)
        return _json({"object": "list", "data": [self._model()]})

    async def model(self, request: Any) -> Any:
        """``GET /v1/models/NAME``."""
        self._check_key(request)
        if (name := request.path_params["name"]) != self.settings.name:
            message = f"there is no model {name[:80]!r} here; see /v1/models"
            raise ApiError(404, message, "model", "model_not_found")
        return _json(self._model())

    def _model(self) -> dict[str, Any]:
        entry = {"id": self.settings.name, "object": "model", "created": self._started, "owned_by": "earwitness"}
        return {**entry, "max_model_len": self._engine.context}

    async def show_metrics(self, request: Any) -> Any:
        """``GET /metrics``, for Prometheus."""
        from starlette.responses import Response

        self._check_key(request)
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def chat(self, request: Any) -> Any:
        """``POST /v1/chat/completions``."""
        arrived = time.perf_counter()
        try:
            self._check_key(request)
            return await self._chat(request, arrived)
        except ApiError as error:
            self.metrics.count_request(error.status, arrived)
            raise
        except Exception:
            self.metrics.count_request(500, arrived)
            raise

    async def claims(self, request: Any) -> Any:
        """``POST /v1/claims``: what a chain says of a clip, checked against the clip."""
        self._check_key(request)
        with self.places.take(1):
            try:
                async with asyncio.timeout(self.settings.timeout_seconds):
                    data = await self._body(request)
                    loop = asyncio.get_running_loop()
                    statement = await loop.run_in_executor(self._loaders, _in_shape, self._statement, data)
                    return _json(await loop.run_in_executor(self._measurer, _in_shape, self._witness.check, statement))
            except TimeoutError:
                raise self._too_late() from None

    def _statement(self, data: bytes) -> Statement:
        return read_statement(data, self.settings)

    # -- one chat completion -------------------------------------------------------------------------------------------

    async def _chat(self, request: Any, arrived: float) -> Any:
        with contextlib.ExitStack() as held:
            held.enter_context(self.places.take(1))
            deadline = asyncio.get_running_loop().time() + self.settings.timeout_seconds
            try:
                async with asyncio.timeout_at(deadline):
                    ask, rows = await self._read(request, held)
            except TimeoutError:
                raise self._too_late() from None
            call = Call(self.scheduler, rows)
            self._calls.add(call)
            held.callback(self._calls.discard, call)
            held.callback(call.cancel)
            timer = asyncio.get_running_loop().call_at(deadline, call.end, self._too_late())
            held.callback(timer.cancel)
            completion = Completion(ask, self.settings.name, self._engine.tokenizer, self._engine.markers.stops)
            if not ask.stream:
                payload = await self._whole(request, call, completion, arrived)
                self.metrics.count_request(200, arrived)
                return _json(payload)
            # From here the response owns what is held, also where it is never begun.
            return _Stream(self._stream(ask, call, completion, arrived), held.pop_all().close)

    async def _read(self, request: Any, held: contextlib.ExitStack) -> tuple[Ask, list[Row]]:
        """Return what is asked for and its rows, ready to run; all that takes time happens in another thread."""
        data = await self._body(request)
        loop = asyncio.get_running_loop()
        ask = await loop.run_in_executor(self._loaders, _in_shape, self._ask, data)
        held.enter_context(self.places.take(ask.choices - 1))
        return ask, await loop.run_in_executor(self._loaders, _in_shape, self._rows, ask)

    async def _body(self, request: Any) -> bytes:
        from starlette.requests import ClientDisconnect

        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # a page of another site can send anything else without asking
            raise ApiError(415, "the body must be JSON; send the header Content-Type: application/json")
        most = self.settings.max_body_bytes
        stated = request.headers.get("content-length", "0")
        too_large = ApiError(413, f"the body has more than {most} bytes, which is the limit; send less audio")
        if stated.isdigit() and int(stated[:20]) > most:
            raise too_large
        body = bytearray()
        try:
            async for piece in request.stream():
                body += piece
                if len(body) > most:
                    raise too_large
        except ClientDisconnect:
            raise ApiError(_GONE, "the client closed the connection") from None
        return bytes(body)

    def _ask(self, data: bytes) -> Ask:
        return read_ask(read_json(data), self.settings)

    def _rows(self, ask: Ask) -> list[Row]:
        from earwitness.engines.sampling import combine_seeds

        self._check_length(ask)
        load_clips(ask.messages, self.settings, min(30.0, self.settings.timeout_seconds))
        rows = []
        for choice in range(ask.choices):
            seed = combine_seeds(ask.seed, choice) if choice else ask.seed
            request = Request(
                ask.messages, think=ask.think, tools=ask.tools, continue_final=ask.continue_final, seed=seed
            )
            rows.append(self.scheduler.prepare(request, ask.sampling, follow=ask.stream))
        return rows

    def _check_length(self, ask: Ask) -> None:
        """Refuse a text that no tokenizer can make fit, before one spends memory on it."""
        least = count_characters(ask.messages, ask.tools) // self._longest_token
        if least > self._engine.context:
            raise PromptTooLongError(
                f"the text alone has at least {least} tokens, {least - self._engine.context} more than "
                f"{self.settings.name} can read with a context of {self._engine.context}; send less"
            )

    async def _whole(self, request: Any, call: Call, completion: Completion, arrived: float) -> dict[str, Any]:
        watcher = asyncio.create_task(_watch(request, call))
        try:
            async for item in call.items():
                if isinstance(item, Ending):
                    self._end(call, completion, item, arrived)
        finally:
            watcher.cancel()
        return completion.whole()

    async def _stream(self, ask: Ask, call: Call, completion: Completion, arrived: float) -> AsyncIterator[bytes]:
        deltas = [Deltas(ask) for _ in call.rows]
        status = _GONE
        try:
            for choice in range(ask.choices):
                yield sse(completion.chunk(choice, {"role": "assistant", "content": ""}))
            async for item in call.items():
                if isinstance(item, Piece):
                    for delta in deltas[item.choice].feed(item.kind, item.text):
                        yield sse(completion.chunk(item.choice, delta))
                    continue
                reply = self._end(call, completion, item, arrived)
                for delta in deltas[item.choice].finish(reply):
                    yield sse(completion.chunk(item.choice, delta))
                yield sse(completion.last_chunk(item.choice, call.rows[item.choice], reply))
            if ask.include_usage:
                yield sse(completion.usage_chunk())
            yield b"data: [DONE]\n\n"
            status = 200
        except ApiError as error:
            status = error.status
            yield sse(error.payload())
        finally:
            self.metrics.count_request(status, arrived)

    def _end(self, call: Call, completion: Completion, item: Ending, arrived: float) -> Any:
        assert item.reply is not None
        completion.ended[item.choice] = (call.rows[item.choice], item.reply)
        self.metrics.count_reply(call.rows[item.choice], item.reply, arrived)
        return item.reply

    def _too_late(self) -> ApiError:
        seconds = self.settings.timeout_seconds
        return ApiError(504, f"the request took longer than {seconds:g} s, which is the limit; ask for less", None)

    def _check_key(self, request: Any) -> None:
        if self.settings.api_key is None:
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(key.strip().encode(), self.settings.api_key.encode())
        if scheme.lower() != "bearer" or not same:
            raise ApiError(
                401, "the API key is missing or wrong; send Authorization: Bearer KEY", None, "invalid_api_key"
            )


class _Stream:
    """An event stream that gives back what it holds, whether or not it was begun."""

    def __init__(self, events: AsyncIterator[bytes], close: Callable[[], None]):
        self._events, self._close = events, close

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import StreamingResponse

        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = StreamingResponse(self._events, media_type="text/event-stream", headers=headers)
        try:
            await response(scope, receive, send)
        finally:
            self._close()


async def _watch(request: Any, call: Call) -> None:
    """End a call whose client goes away before it is answered."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    call.end(ApiError(_GONE, "the client closed the connection"))


def _in_shape(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function; what the request is to blame for becomes an ``ApiError``."""
    try:
        return function(*args)
    except PromptTooLongError as error:
        raise ApiError(400, str(error), "messages", "context_length_exceeded") from None
    except RecursionError:
        raise ApiError(400, "the body is nested too deeply; send plain messages") from None
    except (ValueError, OSError) as error:
        raise ApiError(400, " ".join(str(error).split())[:400] or "the request cannot be read") from None


def _json(payload: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Any:
    from starlette.responses import JSONResponse

    return JSONResponse(payload, status, headers)


def _shaped(route: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    """Return the route with every failure in OpenAI's shape and none of its insides."""

    async def handle(request: Any) -> Any:
        try:
            return await route(request)
        except ApiError as error:
            return _json(error.payload(), error.status, error.headers())
        except Exception:
            _LOG.exception("a request failed")
            failed = ApiError(500, "the server failed on this request; look into its log")
            return _json(failed.payload(), 500)

    return handle


def build_app(api: Api) -> Any:
    """Return the ASGI application of an ``Api``; its life is the engine thread's."""
    from fastapi import FastAPI
    from starlette.exceptions import HTTPException

    @contextlib.asynccontextmanager
    async def life(app: Any) -> AsyncIterator[None]:
        api.scheduler.start()
        yield
        await asyncio.to_thread(api.close)

    async def missing(request: Any, error: Any) -> Any:
        message = f"{request.method} {request.url.path[:80]}: {error.detail}; see /v1/models and /v1/chat/completions"
        return _json(ApiError(error.status_code, message).payload(), error.status_code, error.headers)

    # No pages of documentation: they load their scripts from another host.
    app = FastAPI(lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(HTTPException, missing)
    app.add_route("/v1/chat/completions", _shaped(api.chat), methods=["POST"])
    app.add_route("/v1/claims", _shaped(api.claims), methods=["POST"])
    app.add_route("/v1/models", _shaped(api.models), methods=["GET"])
    app.add_route("/v1/models/{name:path}", _shaped(api.model), methods=["GET"])
    app.add_route("/health", _shaped(api.health), methods=["GET"])
    app.add_route("/metrics", _shaped(api.show_metrics), methods=["GET"])
    add_page(app)
    return app
