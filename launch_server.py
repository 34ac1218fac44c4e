"""python -m radixlang.launch_server: a server, with SGLang's options."""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from radixlang.errors import ConfigError, RadixlangError
from radixlang.runtime.args import add_ignored, add_options, config_of, fail, warn_ignored
from radixlang.runtime.config import EngineConfig, ServerConfig
from radixlang.runtime.engine_start import socket_folder, start_engine
from radixlang.runtime.listener import listen
from radixlang.runtime.log import set_up_logging

_ENDING = {signal.SIGTERM, signal.SIGINT}


def add_serve_options(parser: argparse.ArgumentParser) -> None:
    """The options of a server on `parser`."""
    add_options(parser, EngineConfig, title="engine")
    add_options(parser, ServerConfig, title="server")
    add_ignored(parser)


def serve(options: argparse.Namespace, model: str | None = None) -> int:
    """Runs the server that the options describe. Returns the exit code."""
    try:
        engine = config_of(EngineConfig, options, model_path=model)
        server = _with_key(config_of(ServerConfig, options))
        set_up_logging(server.log_level, requests=server.log_requests)
        warn_ignored(options)
        listener = listen(server)
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # until the server drains by itself
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # not while a folder is there that nobody would delete
        if os.environ.pop("RADIXLANG_ENDS_WITH_STDIN", None):
            threading.Thread(target=_end_with_stdin, daemon=True).start()
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy would start threads that nothing here uses
        folder = socket_folder()
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
            started = start_engine(engine, log_level=server.log_level, folder=folder)
            gc.disable()  # nothing that is imported is garbage
            from radixlang.runtime.server import run  # late: the engine loads while the web stack does

            gc.enable()
            gc.freeze()
            run.serve(engine, server, listener, started)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except RadixlangError as error:
        return fail(error)
    except OSError as error:
        told = f"the system refuses what a server needs ({error}); look at TMPDIR, free space and limits (ulimit -a)"
        return fail(ConfigError(told))
    except KeyboardInterrupt:
        return 130
    return 0


def _end_with_stdin() -> None:
    """A server that a program started for itself drains when that program is gone."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _with_key(config: ServerConfig) -> ServerConfig:
    """The API keys from where they stand: option, file, environment."""
    from dataclasses import replace

    if config.api_key is not None and config.api_key_file is not None:
        raise ConfigError("give --api-key or --api-key-file, not both", param="api_key_file")
    if config.api_key_file is not None:
        try:
            text = Path(config.api_key_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            told = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ConfigError(f"--api-key-file {config.api_key_file}: {told}", param="api_key_file") from None
        first, *others = [line.strip() for line in text.splitlines()] or [""]
        if not first:
            raise ConfigError(f"--api-key-file {config.api_key_file}: its first line is empty", param="api_key_file")
        return replace(config, api_key=first, api_keys=(*config.api_keys, *filter(None, others)))
    if config.api_key is None and os.environ.get("RADIXLANG_API_KEY"):
        return replace(config, api_key=os.environ["RADIXLANG_API_KEY"])
    return config


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m radixlang.launch_server",
        usage="%(prog)s [--model-path MODEL] [--host HOST] [--port PORT] [options]",
        description="Serve a model over HTTP, with SGLang's options.",
        allow_abbrev=False,
    )
    add_serve_options(parser)
    return serve(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
