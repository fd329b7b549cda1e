"""What a controller tells Prometheus, and the endpoint that tells it."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, start_http_server

REQUESTS = Counter("dsecos_api_requests_total", "Calls to the API server.", ["kind", "verb", "code"])
WRITES = Counter("dsecos_api_writes_total", "Successful writes to the API server.", ["kind", "verb"])
RECONCILES = Counter("dsecos_reconcile_total", "Passes of a controller.", ["controller", "result"])
RECONCILE_SECONDS = Histogram("dsecos_reconcile_seconds", "Time of one pass.", ["controller"])
QUEUE_DEPTH = Gauge("dsecos_queue_depth", "Keys that wait to be reconciled.", ["controller"])
CACHE_OBJECTS = Gauge("dsecos_cache_objects", "Objects in the cache.", ["kind"])
UNREADABLE = Gauge("dsecos_cache_unreadable_objects", "Objects that do not fit their model.", ["kind"])
WATCH_RESTARTS = Counter("dsecos_watch_restarts_total", "Lists that begin a watch anew.", ["kind"])
EVENTS_DROPPED = Counter("dsecos_events_dropped_total", "Events that were not posted.", ["why"])
LEADER = Gauge("dsecos_leader", "1 while this process holds its lease.")


def serve(port: int) -> None:
    """Serve /metrics on 127.0.0.1 from a thread of its own; port 0 serves nothing. Raises OSError."""
    if port:
        start_http_server(port, addr="127.0.0.1")
