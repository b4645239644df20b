"""`genway demo`: a gateway of its own, one request, a video, and nothing left running."""

from __future__ import annotations

import base64
import http.client
import json
import mimetypes
import os
import secrets
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import msgspec
from cyclopts import Parameter

from genway.cli import child, output
from genway.cli.place import Place
from genway.config import PREFIX
from genway.errors import GenwayError, InvalidRequest, Unavailable

if TYPE_CHECKING:
    from rich.progress import Progress

USUAL_PORT = 8700
POLL_SECONDS = 0.25
KEY_FILE = "demo.key"
AXES = ("x", "y", "z", "r", "bg_x_pan", "bg_y_pan")

# The example of the page that documents this request. Its picture's address answers no more, so a photo stands in for it.
REQUEST: dict[str, Any] = {
    "callback_url": "http://baidu.com",
    "image": "https://db.xiaohuhd.com/1.jpeg",
    "style": "cinematic",
    "model": "gen3",
    "prompt": "笑起来,吃汉堡",
    "options": {
        "seconds": 10,
        "image_as_end_frame": False,
        "flip": False,
        "motion_vector": {"x": -6.2, "y": 0, "z": 0, "r": 0, "bg_x_pan": 0, "bg_y_pan": 0},
    },
}


class Outcome(msgspec.Struct, frozen=True):
    """What a demonstration made. seconds: how long it took from the request to the file."""

    file: str
    link: str
    task_id: str
    provider: str
    cost: str
    cost_lines: list[str]
    seconds: float
    url: str
    data: str


def demo(
    *,
    image: str = "",
    prompt: str | None = None,
    seconds: int | None = None,
    ratio: str = "",
    motion: str = "",
    model: str = "",
    out: Path | None = None,
    data: Path = Path("genway-demo"),
    keep_serving: bool = False,
    json_: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Start a gateway, send it one request in Runway's format, and write the video that comes back.

    Nothing has to be set up: no key of a vendor, no graphics card, no network. The built-in renderer moves the camera
    through the picture. The gateway ends with the command, and its data stay in a folder.

    ```sh
    genway demo
    genway demo --image me.jpg --motion x=4,z=3 --seconds 5
    genway demo --image me.jpg --ratio 9:16 --prompt "slow zoom out" --out me.mp4
    genway demo --keep-serving
    ```

    Parameters
    ----------
    image
        A picture on this machine, or a public address of one; a photo that ships with genway by default.
    prompt
        What to say with it. Without --motion the camera follows its words, English or Chinese.
    seconds
        How long the video is: 5 or 10.
    ratio
        16:9 or 9:16; other models can do 1:1, 4:3, 3:4, 21:9.
    motion
        How the camera moves, like x=4,z=3: x right, y up, z in, r clockwise, bg_x_pan and bg_y_pan the background
        right and up; each from -10 to 10.
    model
        gen2, gen3 or gen4.
    out
        The file to write; by default one in the data folder.
    data
        The folder that the gateway keeps its data in.
    keep_serving
        Leave the gateway running until Ctrl-C.
    json_
        Print JSON, for scripts.
    """
    body = request(image, prompt, seconds, ratio, motion, model)
    data.mkdir(parents=True, exist_ok=True)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    key = _key(data)
    environ |= {"GENWAY_BOOTSTRAP_KEY": key, "GENWAY_SERVER_DRAIN_SECONDS": "1"}
    with _ended_by_signals(), child.started(data, environ, port=_port(), log=data / "server.log") as gateway:
        if not json_:
            output.say(f"A gateway runs at {gateway.url}, with its data in {data}.")
        outcome = _make(gateway, key, body, out, data, quiet=json_)
        if json_:
            output.print_json(outcome)
        else:
            _tell(outcome, gateway.port, data, keep_serving)
        if keep_serving:
            sys.stdout.flush()
            gateway.process.wait()


def sample() -> Path:
    """The photo that ships."""
    return Path(str(files("genway.cli").joinpath("sample.jpg")))


def request(
    image: str = "", prompt: str | None = None, seconds: int | None = None, ratio: str = "", motion: str = "", model: str = ""
) -> dict[str, Any]:
    """The page's example with what was asked for in its place. Raises InvalidRequest, and OSError for the picture.

    The example's camera motion goes with its prompt: beside another prompt there is none, so that the words count.
    """
    body: dict[str, Any] = json.loads(json.dumps(REQUEST))
    body["image"] = (
        image if image.startswith(("http://", "https://", "data:")) else _data_uri(Path(image) if image else sample())
    )
    if prompt is not None:
        body["prompt"] = prompt
    if seconds is not None:
        body["options"]["seconds"] = seconds
    if motion or prompt is not None:
        body["options"]["motion_vector"] = _motion(motion)
    return body | {name: value for name, value in (("ratio", ratio), ("model", model)) if value}


def _motion(text: str) -> dict[str, float]:
    vector = dict.fromkeys(AXES, 0.0)
    for part in filter(None, text.split(",")):
        name, _, value = part.strip().partition("=")
        if name not in vector:
            raise InvalidRequest(f"like x=4,z=3, of {', '.join(AXES)}; got {part.strip()}", field="--motion")
        try:
            vector[name] = float(value)
        except ValueError:
            raise InvalidRequest(f"a number for {name}, got {value}", field="--motion") from None
    return vector


def _data_uri(path: Path) -> str:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _key(data: Path) -> str:
    """The key of this folder's demonstrations; made at the first one, readable by its owner alone."""
    path = data / KEY_FILE
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"gw_live_{secrets.token_urlsafe(32)}")
    return path.read_text("ascii").strip()


def _port() -> int:
    """The usual port, so that links go on working under `genway serve`, or any free one where that is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", USUAL_PORT))
        except OSError:
            return 0
    return USUAL_PORT


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and a closed terminal end the command as Ctrl-C does, so that the gateway ends with it."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _make(gateway: child.Child, key: str, body: dict[str, Any], out: Path | None, data: Path, *, quiet: bool) -> Outcome:
    began = time.monotonic()
    task_id = str(_call(gateway, key, "/runway/pro/generate", body)["task_id"])
    with _progress(quiet) as progress:
        bar = progress.add_task("rendering", total=1.0)
        while True:
            feed = _call(gateway, key, "/runway/feed", {"task_id": task_id})
            progress.update(bar, completed=feed["progress"], description=feed["state"])
            if feed["status"] in ("2", "3"):
                break
            time.sleep(POLL_SECONDS)
    if feed["status"] == "2":
        raise Unavailable(f"the task failed: {feed['msg']}; nothing was charged")
    target = (out or data / time.strftime("video-%Y%m%d-%H%M%S.mp4")).absolute()
    _download(gateway, feed["video_url"], target)
    charge = _charge(data, task_id)
    currency = charge["currency"]
    return Outcome(
        file=str(target),
        link=feed["video_url"],
        task_id=task_id,
        provider=feed["provider"],
        cost=f"{charge['charged']} {currency}",
        cost_lines=[f"{line['quantity']:g} × {line['unit_price']} {currency} a {line['unit']}" for line in charge["lines"]],
        seconds=round(time.monotonic() - began, 1),
        url=gateway.url,
        data=str(data),
    )


def _charge(data: Path, task_id: str) -> dict[str, Any]:
    """What `genway task show` says of the money."""
    from genway.cli import task  # noqa: PLC0415

    with Place(data=data).open() as opened:
        charge: dict[str, Any] = opened.read(lambda connection: task.explain(connection, opened, task_id))["charge"]
    return charge


def _progress(quiet: bool) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    return Progress(
        TextColumn("{task.description:>10}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        disable=quiet,
        console=output.console(),
    )


def _call(gateway: child.Child, key: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The `data` of an answer in the dialect of the page. Raises Unavailable with the gateway's own words."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        connection.request("POST", path, json.dumps(body).encode(), headers)
        answer = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unavailable(f"the gateway does not answer: {error}") from error
    finally:
        connection.close()
    if answer.get("code") != 200:
        raise Refused(str(answer.get("msg") or answer))
    data: dict[str, Any] = answer["data"]
    return data


class Refused(GenwayError):
    """The gateway refused the request, in its own words."""


def _download(gateway: child.Child, link: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    address = urlsplit(link)
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        connection.request("GET", f"{address.path}?{address.query}")
        response = connection.getresponse()
        if response.status != 200:
            raise Unavailable(f"the video could not be fetched: {response.status} {response.reason}")
        with partial.open("wb") as file:
            while chunk := response.read(1 << 20):
                file.write(chunk)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
        connection.close()


def _tell(outcome: Outcome, port: int, data: Path, serving: bool) -> None:
    genway = "uv run genway" if "UV_RUN_RECURSION_DEPTH" in os.environ else "genway"
    folder = shlex.quote(str(data))
    where = "" if port == USUAL_PORT else f" --port {port}"
    serve = f"{genway} serve --data {folder}{where}"
    works = "works now" if serving else f"works while the gateway runs ({serve})"
    who = "the built-in renderer, which needs no vendor" if outcome.provider == "local" else outcome.provider
    output.say(f"""
  video   {outcome.file}
  link    {outcome.link}
          {works}
  cost    {outcome.cost} ({", ".join(outcome.cost_lines)}) of the demonstration's own money
  by      {who}, in {outcome.seconds:g} s

Three things to try next:
  1. Your own picture:       {genway} demo --image me.jpg --motion x=4,z=3 --seconds 5
  2. Where the money went:   {genway} task show {outcome.task_id} --data {folder}
  3. A vendor's model:       {genway} channel add --provider runwayml --data {folder}""")
    if serving:
        output.say(f"\nThe gateway runs at {outcome.url} with the key in {data / KEY_FILE}. Stop it with Ctrl-C.")
