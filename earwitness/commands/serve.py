"""``earwitness serve``: an OpenAI-compatible HTTP API over a model in this process."""

from __future__ import annotations

import argparse
import os
import pathlib
import socket
import sys

from earwitness.serve.settings import Settings

SUMMARY = "answer over HTTP with the OpenAI API, for many clients at once"
EXAMPLES = """examples:
  earwitness serve
  earwitness serve --model Step-Audio-R1/ --host 0.0.0.0 --port 8000 --api-key KEY
  earwitness serve --allow-audio-host media.example.com --allow-audio-folder recordings/

Then, with the openai package: OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none")."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_DEFAULT = Settings()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--model", metavar="M", help="folder or hub name; default: the small model of the package")
    parser.add_argument("--name", help="what requests call the model; default: the last part of --model, or tiny")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: %(default)s")
    parser.add_argument("--port", type=int, default=8000, help="port; 0 takes a free one; default: %(default)s")
    parser.add_argument(
        "--api-key", metavar="KEY", help="asked of every client; default: EARWITNESS_API_KEY, else none"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, or auto; default: the first GPU, else the CPU")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16; default: the checkpoint's, float32 on a CPU")
    parser.add_argument("--batch", type=int, metavar="N", help="replies written at once; default: 128, 256 on a GPU")
    limits = parser.add_argument_group("limits")
    _limit(limits, "--queue", int, _DEFAULT.max_queue, "replies that may wait beyond those; then 429")
    _limit(limits, "--max-body-mb", float, _DEFAULT.max_body_bytes / 2**20, "size of a request, or of a fetched clip")
    _limit(limits, "--max-audio-seconds", float, _DEFAULT.max_audio_seconds, "audio of a request")
    _limit(limits, "--max-clips", int, _DEFAULT.max_clips, "clips of a request")
    _limit(limits, "--max-choices", int, _DEFAULT.max_choices, "the largest n")
    _limit(limits, "--timeout", float, _DEFAULT.timeout_seconds, "seconds that a request may take")
    _limit(limits, "--grace", float, _DEFAULT.grace_seconds, "seconds for accepted requests after SIGTERM")
    sources = parser.add_argument_group("where audio may come from, beside the request itself")
    sources.add_argument(
        "--allow-audio-host", action="append", default=[], metavar="HOST[:PORT]", help="http(s) URLs of this host"
    )
    sources.add_argument(
        "--allow-audio-folder", action="append", default=[], metavar="DIR", help="file: URLs in this folder"
    )


def _limit(group: argparse._ArgumentGroup, flag: str, kind: type, default: float, text: str) -> None:
    group.add_argument(flag, type=kind, default=default, metavar="N", help=f"{text}; default: {default:g}")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    settings = _settings(args)
    if str(args.model or "").startswith(("http://", "https://")):
        raise ValueError(f"{args.model} is a server already; give --model a folder or a hub name")
    _check_port(args.host, args.port)
    from earwitness import engines
    from earwitness.engines.local import LocalEngine
    from earwitness.serve.server import build_server

    options = {} if args.batch is None else {"max_batch": args.batch}
    engine = engines.load(args.model, args.device, args.dtype, **options)
    assert isinstance(engine, LocalEngine)
    server = build_server(engine, settings, args.host, args.port, on_ready=_greet(args, settings))
    server.run()
    return 0


def _settings(args: argparse.Namespace) -> Settings:
    if args.batch is not None and args.batch < 1:
        raise ValueError(f"--batch is {args.batch}; it must be 1 or more")
    name = args.name or (pathlib.Path(args.model).name if args.model else "tiny")
    return Settings(
        name=name,
        api_key=args.api_key or os.environ.get("EARWITNESS_API_KEY") or None,
        max_body_bytes=int(args.max_body_mb * 2**20),
        max_audio_seconds=args.max_audio_seconds,
        max_clips=args.max_clips,
        max_choices=args.max_choices,
        max_queue=args.queue,
        timeout_seconds=args.timeout,
        grace_seconds=args.grace,
        allowed_hosts=tuple(args.allow_audio_host),
        allowed_folders=tuple(pathlib.Path(folder).expanduser() for folder in args.allow_audio_folder),
    )


def _check_port(host: str, port: int) -> None:
    """Say at once, before a model is loaded, that the address cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OSError(f"cannot listen on {host} port {port} ({reason}); choose others with --host and --port") from None


def _greet(args: argparse.Namespace, settings: Settings):
    """Return what prints where the server is, once it is there."""

    def greet(port: int) -> None:
        host = f"[{args.host}]" if ":" in args.host else args.host
        print(f"earwitness: {settings.name} is served at http://{host}:{port}/v1", file=sys.stderr, flush=True)
        if args.host not in _LOOPBACK and settings.api_key is None:
            print("earwitness: anybody who reaches this address may ask; set --api-key", file=sys.stderr, flush=True)

    return greet
