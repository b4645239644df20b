"""The command line. Every group of commands is a module here and is imported only when it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError, Parameter

from genway.config import ConfigError, Log
from genway.errors import GenwayError

FAILED = 1
MISUSED = 2
INTERRUPTED = 130

COMMANDS = {
    "demo": ("demo:demo", "Turn a picture into a video, now, with nothing set up."),
    "serve": ("serve:serve", "Run the gateway."),
    "key": ("key:app", "Make, list and revoke the keys that programs hold."),
    "account": ("account:app", "Make, top up and show the accounts that pay."),
    "channel": ("channel:app", "Connect vendors and other gateways, and test them."),
    "price": ("price:app", "Say what models cost."),
    "task": ("task:app", "List, explain and cancel tasks."),
    "callback": ("callback:app", "List callbacks, and send them again."),
    "doctor": ("doctor:doctor", "Check that everything here is well."),
    "settings": ("settings:settings", "Show every setting, its default and what it is now."),
}

app = App(
    name="genway",
    help="One gateway in front of every generator of text, images, music and video.\n\n"
    "    genway demo                  a picture becomes a video, with nothing set up\n"
    "    genway serve                 run the gateway\n"
    "    genway key create            make a key for a program\n"
    "    genway COMMAND --help        what a command does, with examples",
    help_format="markdown",
    version=lambda: f"genway {version('genway')}",
    default_parameter=Parameter(negative="", show_default=lambda value: value not in (False, 0, "", None)),
    suppress_keyboard_interrupt=False,
)
for _name, (_path, _help) in COMMANDS.items():
    app.command(f"genway.cli.{_path}", name=_name, help=_help, sort_key=list(COMMANDS).index(_name))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0 done, 1 it could not be done, 2 it was misused."""
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
        sys.stdout = None  # type: ignore[assignment]  # nobody reads any more; do not flush at exit
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
