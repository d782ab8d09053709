"""The cache holds rate counters and nothing that matters; it may be gone."""

from typing import Any

import structlog
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

logger = structlog.get_logger(__name__)


class ForgivingRedisCache(RedisCache):
    """Redis as a cache which counts as empty while Redis cannot be reached: a request is never lost to it."""

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """The value, or the default when there is none or no Redis."""
        try:
            return super().get(key, default, version)
        except RedisError as error:
            logger.warning("cache.unreachable", error=type(error).__name__)
            return default

    def set(self, key: str, value: Any, *args: Any, **kwargs: Any) -> None:
        """Keep the value, if there is somewhere to keep it."""
        try:
            super().set(key, value, *args, **kwargs)
        except RedisError as error:
            logger.warning("cache.unreachable", error=type(error).__name__)

    def add(self, key: str, value: Any, *args: Any, **kwargs: Any) -> bool:
        """Keep the value if there is none yet; True when there is nowhere to keep it."""
        try:
            return bool(super().add(key, value, *args, **kwargs))
        except RedisError as error:
            logger.warning("cache.unreachable", error=type(error).__name__)
            return True

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """The counter after adding to it (`decr` calls this too); what was added, when it cannot be reached."""
        try:
            return int(super().incr(key, delta, version))
        except RedisError as error:
            logger.warning("cache.unreachable", error=type(error).__name__)
            return delta
