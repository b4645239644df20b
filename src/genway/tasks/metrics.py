"""What is counted about tasks; the names are documented in `docs/metrics.md`."""

from prometheus_client import Counter, Gauge, Histogram

ACCEPTED = Counter("genway_tasks_accepted_total", "Tasks accepted", ["mode", "operation", "model"])
ENDED = Counter("genway_tasks_ended_total", "Tasks that ended, by how", ["provider", "operation", "state"])
OPEN = Gauge("genway_tasks_open", "Tasks that have not ended, by state", ["state"], multiprocess_mode="livemostrecent")
SECONDS = Histogram(
    "genway_task_seconds",
    "From accepted to ended",
    ["provider", "operation"],
    buckets=(0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600),
)
VENDOR_CALLS = Counter("genway_vendor_calls_total", "Calls to vendors, by outcome", ["provider", "call", "outcome"])
