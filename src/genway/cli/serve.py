"""`genway serve`: run the gateway."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from genway.cli.place import Folder

FOLDER = Folder()


def serve(
    *,
    host: Annotated[str | None, Parameter(env_var="GENWAY_SERVER_HOST")] = None,
    port: Annotated[int | None, Parameter(env_var="GENWAY_SERVER_PORT")] = None,
    workers: Annotated[int | None, Parameter(env_var="GENWAY_SERVER_WORKERS")] = None,
    folder: Folder = FOLDER,
) -> None:
    """Run the gateway until Ctrl-C or SIGTERM.

    It keeps everything in the data folder, which it makes if it is not there. What was under way when it stopped
    goes on when it starts again. `GET /readyz` answers 200 when it takes work.

    ```sh
    genway serve
    genway serve --host 0.0.0.0 --port 80 --data /srv/genway
    genway serve --config genway.toml --workers 4
    GENWAY_BOOTSTRAP_KEY=a-long-secret genway serve
    ```

    The last one comes up with that key valid: admin, live, without limit.

    Parameters
    ----------
    host
        The address to listen on; 127.0.0.1 by default, 0.0.0.0 for all.
    port
        The port to listen on; 8700 by default, 0 for a free one.
    workers
        How many processes serve; 1 by default.
    """
    from genway import server  # noqa: PLC0415 - help and mistakes need no server
    from genway.config import ConfigError  # noqa: PLC0415
    from genway.db.migrate import NewerDatabase  # noqa: PLC0415

    config = folder.settings({"server": {"host": host, "port": port, "workers": workers}})
    if sys.stderr.isatty():
        print("Make a key for a program in another terminal with `genway key create`. Stop with Ctrl-C.", file=sys.stderr)
    try:
        server.serve(config)
    except NewerDatabase as error:
        raise ConfigError(str(error)) from error
