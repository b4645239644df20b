"""The command line. Every group of commands is a module here and is imported only when it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError

from genway.cli.arguments import MANNER
from genway.config import ConfigError, Log
from genway.errors import GenwayError

FAILED = 1
MISUSED = 2
INTERRUPTED = 130

COMMANDS = {
    "demo": "demo:demo",
    "serve": "serve:serve",
    "key": "key:app",
    "account": "account:app",
    "channel": "channel:app",
    "price": "price:app",
    "task": "task:app",
    "call": "call:app",
    "usage": "usage:usage",
    "callback": "callback:app",
    "doctor": "doctor:doctor",
    "settings": "settings:settings",
}


app = App(
    name="genway",
    help="""One gateway in front of generators of text, images and video.

Where to begin:

    genway demo              turn a picture into a video, with nothing set up
    genway serve             run the gateway
    genway key create        make a key for a program
    genway COMMAND --help    what a command does, with examples

A command ends with 0 when it did its work, with 1 when it could not, and with 2 when it was misused. What went wrong
is one line on standard error. With `--json`, standard output is JSON and nothing else.
""",
    help_format="markdown",
    version=lambda: f"genway {version('genway')}",
    default_parameter=MANNER,
    suppress_keyboard_interrupt=False,
)
for _place, (_name, _path) in enumerate(COMMANDS.items()):
    app.command(f"genway.cli.{_path}", name=_name, sort_key=_place)
app.command("genway.cli.reference:reference", name="reference", show=False)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0 done, 1 it could not be done, 2 it was misused."""
    if not arguments or arguments[0] in app.help_flags:
        for name in COMMANDS:
            app[name]  # imported, so that the list says what it does
    try:
        answer = app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        words = " ".join(error.command_chain or ())
        return _complain(f"{error}\nSee `{f'genway {words}'.strip()} --help`.", MISUSED)
    except (ConfigError, GenwayError) as error:
        return _complain(str(error), FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.stdout = None  # nobody reads any more; do not flush at exit
        return FAILED
    except OSError as error:
        return _complain(f"{error.filename or 'the system'}: {error.strerror or error}", FAILED)
    return answer if isinstance(answer, int) else 0


def main() -> None:
    """The command `genway`."""
    if sys.argv[1:2] != ["serve"]:
        from genway import logs  # noqa: PLC0415 - a server sets its own log up

        logs.configure(Log(level="error"))
    sys.exit(run(sys.argv[1:]))


def _complain(message: str, code: int) -> int:
    print(f"genway: {message}", file=sys.stderr)
    return code
