"""What a program does with the first release of the official SDK, against $RUNWAYML_BASE_URL. Prints what it saw as JSON."""

from __future__ import annotations

import json
import os
import time
import urllib.request

import runwayml
from runwayml import RunwayML

DEADLINE = 60

client = RunwayML(api_key=os.environ["LIVE_KEY"], base_url=os.environ["RUNWAYML_BASE_URL"], max_retries=0)
stranger = client.with_options(api_key="key_wrong")


def failing(call, **arguments):  # type: ignore[no-untyped-def]
    try:
        call(**arguments)
    except runwayml.APIStatusError as error:
        return {"class": type(error).__name__, "status": error.status_code}
    return "no error"


seen: dict[str, object] = {"version": runwayml.__version__}
# This release knows no ratio and no duration: they go along beside its own fields.
small = {"ratio": "1280:768", "duration": 5}
made = client.image_to_video.create(
    model="gen3a_turbo", prompt_image=os.environ["PICTURE_URI"], prompt_text="a slow zoom", watermark=False, extra_body=small
)
ends = time.monotonic() + DEADLINE
while (task := client.tasks.retrieve(made.id)).status not in {"SUCCEEDED", "FAILED", "CANCELLED"}:
    assert time.monotonic() < ends, task
    time.sleep(0.2)
seen["task"] = {"status": task.status, "year": task.created_at.year, "outputs": len(task.output or [])}
with urllib.request.urlopen((task.output or [""])[0]) as answer:
    seen["video"] = answer.read()[4:8].decode()
client.tasks.delete(made.id)
seen["deleted"] = failing(client.tasks.retrieve, id=made.id)
seen["bad"] = failing(client.image_to_video.create, model="gen3a_turbo", prompt_image="http://10.0.0.1/a.png")
seen["stranger"] = failing(stranger.tasks.retrieve, id=made.id)
print(json.dumps(seen))
