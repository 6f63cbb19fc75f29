"""``earwitness realtime``: speech in, reasoned speech out, behind the OpenAI Realtime protocol."""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from typing import Any

from earwitness.realtime.pace import MODES, Pace
from earwitness.realtime.settings import VOICES, Settings

SUMMARY = "talk over a WebSocket with the OpenAI Realtime protocol: speech in, reasoned speech out"
EXAMPLES = """examples:
  earwitness realtime
  earwitness realtime --mode think-first --voice flite
  earwitness realtime --model Step-Audio-R1/ --host 0.0.0.0 --api-key KEY --sessions 32

Then, with the openai package:
  OpenAI(base_url="http://127.0.0.1:8010/v1", api_key="none").realtime.connect(model="tiny")

Without a key everybody on this machine may connect; pages of other origins may not."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_DEFAULT = Settings()
_TINY_PACE = Pace(think_tokens=8, speak_tokens=8)
"""For the small model of the package: about a sixth of its median chain."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--model", metavar="M", help="folder, hub name, or URL of an OpenAI-compatible server")
    parser.add_argument("--name", help="what clients call the model; default: the last part of --model, or tiny")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: %(default)s")
    parser.add_argument("--port", type=int, default=8010, help="port; 0 takes a free one; default: %(default)s")
    parser.add_argument(
        "--api-key", metavar="KEY", help="asked of every client; default: EARWITNESS_API_KEY, else none"
    )
    parser.add_argument(
        "--allow-origin", action="append", default=[], metavar="URL", help="pages of this origin may connect too"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, or auto; default: the first GPU, else the CPU")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16; default: the checkpoint's, float32 on a CPU")
    parser.add_argument("--instructions", default="", help="system message of sessions that set none")
    parser.add_argument("--voice", choices=VOICES, default=_DEFAULT.voice, help="what speaks; default: %(default)s")
    pace = parser.add_argument_group("thinking and speaking")
    pace.add_argument(
        "--mode", choices=MODES, help="default: speak-first, or think-before-speak where --model is a URL"
    )
    pace.add_argument("--think-tokens", type=int, metavar="N", help="segment of thought; default: 80, 8 for tiny")
    pace.add_argument("--speak-tokens", type=int, metavar="N", help="segment of the answer; default: 20, 8 for tiny")
    limits = parser.add_argument_group("limits")
    _limit(limits, "--sessions", int, _DEFAULT.max_sessions, "sessions at a time")
    _limit(limits, "--client-sessions", int, _DEFAULT.max_client_sessions, "sessions of one address")
    _limit(limits, "--max-tokens", int, _DEFAULT.max_new_tokens, "tokens of an answer, its chain included")
    _limit(limits, "--idle", float, _DEFAULT.idle_seconds, "seconds without anything from a client")
    _limit(limits, "--stall", float, _DEFAULT.stall_seconds, "seconds after which an answer that hangs fails")
    _limit(limits, "--grace", float, _DEFAULT.grace_seconds, "seconds for answers after SIGTERM")


def _limit(group: argparse._ArgumentGroup, flag: str, kind: type, default: float, text: str) -> None:
    group.add_argument(flag, type=kind, default=default, metavar="N", help=f"{text}; default: {default:g}")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    settings = _settings(args)
    from earwitness import engines
    from earwitness.realtime.server import Realtime, build_server

    engine = engines.load(args.model, args.device, args.dtype)
    realtime = Realtime(_thinker(engine, settings), settings, args.host)
    server, listening = build_server(realtime, args.host, args.port, on_ready=_greet(args, settings))
    with listening:
        server.run(sockets=[listening])
    return 0


def _is_remote(args: argparse.Namespace) -> bool:
    return str(args.model or "").startswith(("http://", "https://"))


def _settings(args: argparse.Namespace) -> Settings:
    given = {"mode": args.mode or ("think-before-speak" if _is_remote(args) else None)}
    given |= {"think_tokens": args.think_tokens, "speak_tokens": args.speak_tokens}
    base = Pace() if args.model else _TINY_PACE
    pace = Pace(**{**base.__dict__, **{name: value for name, value in given.items() if value is not None}})
    return Settings(
        name=args.name or (pathlib.Path(args.model).name if args.model else "tiny"),
        api_key=args.api_key or os.environ.get("EARWITNESS_API_KEY") or None,
        allowed_origins=tuple(origin.rstrip("/") for origin in args.allow_origin),
        instructions=args.instructions,
        voice=args.voice,
        pace=pace,
        max_sessions=args.sessions,
        max_client_sessions=args.client_sessions,
        max_new_tokens=args.max_tokens,
        idle_seconds=args.idle,
        stall_seconds=args.stall,
        grace_seconds=args.grace,
    )


def _thinker(engine: Any, settings: Settings) -> Any:
    """Return what thinks: with sessions where the model is here, by plain requests where it is elsewhere."""
    from earwitness.engines.local import LocalEngine

    if not isinstance(engine, LocalEngine):
        from earwitness.realtime.plain_thinker import PlainThinker

        return PlainThinker(engine, settings.pace, settings.max_new_tokens)
    from earwitness.engines.session import SessionEngine
    from earwitness.realtime.thinker import SessionThinker

    return SessionThinker(SessionEngine.over(engine), settings.pace, settings.max_new_tokens)


def _greet(args: argparse.Namespace, settings: Settings):
    """Return what prints where the server is, once it is there."""

    def greet(port: int) -> None:
        host = f"[{args.host}]" if ":" in args.host else args.host
        where = f"ws://{host}:{port}/v1/realtime"
        print(f"earwitness: {settings.name} listens at {where} ({settings.pace.mode})", file=sys.stderr, flush=True)
        if args.host not in _LOOPBACK and settings.api_key is None:
            print("earwitness: anybody who reaches this address may talk; set --api-key", file=sys.stderr, flush=True)

    return greet
