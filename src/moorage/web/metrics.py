"""The endpoint for Prometheus."""

from __future__ import annotations

from moorage.codes import Code
from moorage.config.sections.metrics import MetricsConfig
from moorage.metrics import LoopLag, Metrics
from moorage.web.server import Reply, Request, WebServer


class MetricsServer(WebServer):
    """Shows `metrics` at the configured path, to any method; all other paths are not found.

    While it serves, the event loop's lag is measured.
    """

    def __init__(self, config: MetricsConfig, metrics: Metrics) -> None:
        super().__init__(
            "metrics server", "metrics", config, self._reply, available=Code.METRICS_AVAILABLE, path=config.path
        )
        self._metrics = metrics
        self._only = config.path
        self._lag = LoopLag(metrics)

    async def start(self) -> None:
        await super().start()
        self._lag.start()

    async def stop(self) -> None:
        self._lag.stop()
        await super().stop()

    def _reply(self, request: Request) -> Reply:
        if request.path != self._only:
            return Reply(404)
        body, content_type = self._metrics.exposition(request.accept)
        return Reply(200, body, content_type)
