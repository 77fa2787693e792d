"""How often one caller may ask: token buckets, one a caller and kind of route, kept in the memory of the process.

They keep one caller's script from taking the service away from the others; they are no account of anything. So nothing
is shared between processes: with two behind a load balancer a caller gets up to twice as much.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from cpro_platform.config import RateLimit, RateLimitSettings

_MAX_BUCKETS = 20_000
"""Some 200 bytes each. The one used longest ago is forgotten first, which gives its caller a full one again."""


class RouteClass(StrEnum):
    """What a request costs: reading, changing something, or sending a file."""

    READ = "read"
    WRITE = "write"
    UPLOAD = "upload"


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimiter:
    """Says whether a request may pass now, and else in how many seconds."""

    def __init__(self, settings: RateLimitSettings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limits = {
            RouteClass.READ: settings.read,
            RouteClass.WRITE: settings.write,
            RouteClass.UPLOAD: settings.upload,
        }
        self._monotonic = monotonic
        self._buckets: OrderedDict[tuple[str, RouteClass], _Bucket] = OrderedDict()

    def take(self, caller: str, route_class: RouteClass) -> int:
        """Take one request of this caller: 0, or the whole seconds after which the next one may pass."""
        limit, now = self._limits[route_class], self._monotonic()
        key = (caller, route_class)
        bucket = self._buckets.pop(key, None) or _Bucket(limit.burst, now)
        self._buckets[key] = bucket
        if len(self._buckets) > _MAX_BUCKETS:
            self._buckets.popitem(last=False)
        bucket.tokens = min(float(limit.burst), bucket.tokens + (now - bucket.at) * _per_second(limit))
        bucket.at = now
        if bucket.tokens < 1:
            return max(1, math.ceil((1 - bucket.tokens) / _per_second(limit)))
        bucket.tokens -= 1
        return 0


def _per_second(limit: RateLimit) -> float:
    return limit.per_minute / 60
