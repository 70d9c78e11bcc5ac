"""The listener as an object: everything that runs between `start` and `stop`."""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from pynetdicom import AE

from blocks.settings import DicomReceiveSettings
from deployments.services.dicom_listener.alerts import report_pressure
from deployments.services.dicom_listener.association import Reception
from deployments.services.dicom_listener.gauge import Gauge
from deployments.services.dicom_listener.server import ReceivingServer
from deployments.services.dicom_listener.tls import server_context
from tasks.dicom.core.backpressure import Pressure, Watermarks
from tasks.dicom.core.durable_files import write_durably
from tasks.dicom.core.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from tasks.dicom.core.presence import Presence
from tasks.dicom.core.receiving import Committer, Transactions
from tasks.dicom.core.reconcile import Reconciliation, reconcile
from tasks.dicom.core.spool import Spool
from tasks.foundation.core.columns import utc_now

log = logging.getLogger("quintet.listener")

#: Below the dicom home: says that the listener is ready, and where.
READY_FILE = "listener.json"
_TICK_SECONDS = 0.5
_METRICS_SECONDS = 60.0


class ListenerError(Exception):
    """The listener cannot start; the text says what to do."""


class Listener:
    """A DICOM storage SCP. Knows no Prefect."""

    def __init__(
        self,
        config: DicomReceiveSettings,
        home: Path,
        begin: Transactions,
        *,
        on_ready: Callable[[], None] = lambda: None,
        on_pressure: Callable[[Pressure, str], None] = report_pressure,
    ) -> None:
        """Set it up; nothing happens before `start`.

        Args:
            config: who may associate, limits, watermarks.
            home: the dicom home.
            begin: opens a transaction of the ledger.
            on_ready: called when batches became READY; must return at once.
            on_pressure: called with the pressure and the AE title when the level changes; must return at once.
        """
        self._config = config
        self._home = home
        self._begin = begin
        self._on_ready = on_ready
        self._on_pressure = on_pressure
        self._stopping = threading.Event()
        self._resources = ExitStack()
        self._server: ReceivingServer
        self._reception: Reception
        self._committer: Committer
        self._gauge: Gauge
        self._threads: list[threading.Thread] = []

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        bound = self._server.server_address
        return str(bound[0]), int(bound[1])

    @property
    def connections(self) -> int:
        """How many connections are open, admitted as associations or not."""
        return len(self._server.connections)

    def start(self) -> Reconciliation:
        """Mend what a crash left behind, then listen; gives what was mended.

        Raises:
            ListenerError: the address cannot be bound.
            TlsConfigurationError: a certificate cannot be used.
            OSError: the home cannot be written.
            Exception: what the ledger raises.
        """
        with self._resources:
            mended = self._open()
            # Nothing failed: what was opened stays open until `stop`.
            self._resources = self._resources.pop_all()
        for name, run in (("accept", self._accept), ("monitor", self._monitor)):
            thread = threading.Thread(target=run, name=f"listener-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)
        host, port = self.address
        content = f'{{"host": "{host}", "port": {port}, "pid": {os.getpid()}, "ae_title": "{self._config.ae_title}"}}\n'
        write_durably(self._home / READY_FILE, content.encode())
        if not mended.clean:
            log.warning(
                "mended after a crash: %d associations closed, %d files adopted, %d leftovers removed, %d missing",
                *(len(mended.closed), len(mended.adopted), mended.removed, len(mended.missing)),
            )
        if mended.closed or mended.adopted:
            self._on_ready()
        return mended

    def stop(self, timeout: float = 20) -> None:
        """Accept nothing more, finish the messages that are being received, and close what is open; once is enough."""
        if self._stopping.is_set():
            return
        (self._home / READY_FILE).unlink(missing_ok=True)
        self._reception.draining.set()
        self._server.shutdown()
        connections = self._server.connections
        for each in connections:
            each.attention.set()
        deadline = time.monotonic() + timeout
        for each in connections:
            each.join(max(0.0, deadline - time.monotonic()))
        for each in self._server.connections:
            each.hang_up()
            each.join(2)
        self._stopping.set()
        for thread in self._threads:
            thread.join(5)
        self._resources.close()

    def _open(self) -> Reconciliation:
        config = self._config
        tls = None
        if config.tls_certificate is not None:
            tls = server_context(config.tls_certificate, config.tls_key, config.tls_client_ca)
        spool = Spool(self._home)
        self._resources.callback(spool.close)
        presence = self._resources.enter_context(Presence(self._home, "listener"))
        marks = Watermarks(**config.model_dump(include=set(Watermarks.__dataclass_fields__)))
        self._gauge = Gauge(spool.folder, self._begin, marks, on_change=self._changed)
        self._committer = Committer(spool, self._begin, owner=presence.name, on_ready=self._on_ready)
        self._resources.callback(self._committer.close)
        mended = reconcile(self._home, self._begin, now=utc_now())
        self._gauge.count()
        self._gauge.measure()
        self._reception = Reception(
            spool=spool,
            committer=self._committer,
            gauge=self._gauge,
            ae_title=config.ae_title,
            require_called_ae=config.require_called_ae,
            calling_aes=frozenset(each.strip() for each in config.allowed_calling_aes),
            networks=tuple(config.allowed_networks),
            maximum_associations=config.maximum_associations,
            maximum_pdu_size=config.maximum_pdu_size,
            dimse_timeout=config.dimse_timeout_seconds,
            network_timeout=config.network_timeout_seconds,
        )
        try:
            self._server = ReceivingServer(self._application_entity(), (config.host, config.port), self._reception, tls)
        except OSError as error:
            raise ListenerError(
                f"cannot listen on {config.host}:{config.port} ({error.strerror}). Stop what listens there, or set "
                "QUINTET_DICOM__RECEIVE__HOST and QUINTET_DICOM__RECEIVE__PORT."
            ) from error
        return mended

    def _application_entity(self) -> AE:
        config = self._config
        entity = AE(ae_title=config.ae_title)
        entity.maximum_pdu_size = config.maximum_pdu_size
        entity.acse_timeout = config.acse_timeout_seconds
        entity.dimse_timeout = config.dimse_timeout_seconds
        entity.network_timeout = config.network_timeout_seconds
        # Ours are counted when they are admitted, not when their thread starts.
        entity.maximum_associations = 1_000_000
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        return entity

    def _changed(self, pressure: Pressure) -> None:
        self._on_pressure(pressure, self._config.ae_title)

    def _accept(self) -> None:
        self._server.serve_forever(poll_interval=0.1)

    def _monitor(self) -> None:
        reported_at, reported = time.monotonic(), 0
        while not self._stopping.wait(_TICK_SECONDS):
            self._gauge.count()
            self._gauge.measure()
            for each in self._server.connections:
                each.end_if_quiet(self._config.quiet_seconds)
            now, totals = time.monotonic(), self._committer.totals
            if now - reported_at >= _METRICS_SECONDS and totals.instances + totals.failures != reported:
                log.info(
                    "received %d instances and %d bytes in %d transactions, %d failed, %d associations open",
                    *(totals.instances, totals.bytes, totals.transactions, totals.failures),
                    len(self._server.connections),
                )
                reported_at, reported = now, totals.instances + totals.failures
