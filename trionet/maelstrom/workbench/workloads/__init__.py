"""The workloads: the requests of clients to the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .base import ClientCrashed, Request, Worker, Workload
from .kafka import Kafka
from .lin_kv import LinKv
from .transactions import TxnListAppend, TxnRwRegister
from .values import Broadcast, Echo, GCounter, GSet, PNCounter, UniqueIds

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["WORKLOADS", "ClientCrashed", "Request", "Worker", "Workload"]

WORKLOADS: Final[Mapping[str, type[Workload]]] = {
    "broadcast": Broadcast,
    "echo": Echo,
    "g-counter": GCounter,
    "g-set": GSet,
    "kafka": Kafka,
    "lin-kv": LinKv,
    "pn-counter": PNCounter,
    "txn-list-append": TxnListAppend,
    "txn-rw-register": TxnRwRegister,
    "unique-ids": UniqueIds,
}
