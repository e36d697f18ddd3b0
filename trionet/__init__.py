"""Many Trio nodes, on one machine or many, as one structured-concurrency program.

PYTEST_DONT_REWRITE: where trionet is imported before pytest starts, pytest need not warn that it would have rewritten
assertions of every package that comes with a plugin.
"""

from .call_tree import CallTree, CancelledCalls, RunningCall, WaitsFor
from .codec import register_type
from .config import NodeConfig
from .current_call import CurrentCall, current_call
from .declared_errors import error
from .errors import (
    Abort,
    AddressInUse,
    CallCancelled,
    CallTimeout,
    CodeRefused,
    ConfigError,
    ConnectionLost,
    DecodeError,
    DefiniteError,
    EmptyGroup,
    EncodeError,
    GroupNotFound,
    IndefiniteError,
    KeyAlreadyExists,
    KeyDoesNotExist,
    KeyMismatch,
    MalformedRequest,
    MessageTooLarge,
    MethodNotFound,
    NodeUnreachable,
    NotFound,
    NotPermitted,
    OrphanedCalls,
    PreconditionFailed,
    RemoteError,
    ServiceNotFound,
    SIDCollision,
    SpawnError,
    TemporarilyUnavailable,
    TrionetError,
    TxnConflict,
    UnexpectedAnswer,
    UnknownKey,
)
from .events import (
    AddressUnreachable,
    ChildEnded,
    ChildGivenUp,
    ChildRestarted,
    Event,
    Events,
    GroupFailed,
    MemberEvent,
    MemberFailed,
    MemberForgotten,
    MemberJoined,
    MemberLeft,
    MemberSuspected,
    MemberTrusted,
    MemberUpdated,
    OrphanedCall,
    RumorFailed,
    ServiceFailed,
    SettingChanged,
    SettingConflict,
    TaskFailed,
)
from .group import Group
from .identity import NID, SID, NodeAddress
from .launchers import Launcher, ObservedStatus, SSHLauncher
from .log_format import JSONLogFormatter
from .message import Remote
from .node import Node
from .node_statistics import NodeStatistics
from .principal import Principal
from .replies import Aggregate, Receipt, Replies, Spread
from .running_calls import RunningCalls
from .runtime import open_node, run, serve_node
from .services.base import rpc
from .services.groups import GroupDescription
from .services.key_status import KeyInfo, KeysStatus, MemberKeys
from .services.keys import Keys
from .services.member import Member
from .services.names import service
from .services.node_calls import NodeCalls
from .services.periodic import PeriodicTask
from .services.routes import ServiceDescription
from .templates.base import GroupContext, Template
from .templates.calls import GroupCalls, GroupItems
from .version import __version__ as __version__

__all__ = [
    "NID",
    "SID",
    "Abort",
    "AddressInUse",
    "AddressUnreachable",
    "Aggregate",
    "CallCancelled",
    "CallTimeout",
    "CallTree",
    "CancelledCalls",
    "ChildEnded",
    "ChildGivenUp",
    "ChildRestarted",
    "CodeRefused",
    "ConfigError",
    "ConnectionLost",
    "CurrentCall",
    "DecodeError",
    "DefiniteError",
    "EmptyGroup",
    "EncodeError",
    "Event",
    "Events",
    "Group",
    "GroupCalls",
    "GroupContext",
    "GroupDescription",
    "GroupFailed",
    "GroupItems",
    "GroupNotFound",
    "IndefiniteError",
    "JSONLogFormatter",
    "KeyAlreadyExists",
    "KeyDoesNotExist",
    "KeyInfo",
    "KeyMismatch",
    "Keys",
    "KeysStatus",
    "Launcher",
    "MalformedRequest",
    "Member",
    "MemberEvent",
    "MemberFailed",
    "MemberForgotten",
    "MemberJoined",
    "MemberKeys",
    "MemberLeft",
    "MemberSuspected",
    "MemberTrusted",
    "MemberUpdated",
    "MessageTooLarge",
    "MethodNotFound",
    "Node",
    "NodeAddress",
    "NodeCalls",
    "NodeConfig",
    "NodeStatistics",
    "NodeUnreachable",
    "NotFound",
    "NotPermitted",
    "ObservedStatus",
    "OrphanedCall",
    "OrphanedCalls",
    "PeriodicTask",
    "PreconditionFailed",
    "Principal",
    "Receipt",
    "Remote",
    "RemoteError",
    "Replies",
    "RumorFailed",
    "RunningCall",
    "RunningCalls",
    "SIDCollision",
    "SSHLauncher",
    "ServiceDescription",
    "ServiceFailed",
    "ServiceNotFound",
    "SettingChanged",
    "SettingConflict",
    "SpawnError",
    "Spread",
    "TaskFailed",
    "Template",
    "TemporarilyUnavailable",
    "TrionetError",
    "TxnConflict",
    "UnexpectedAnswer",
    "UnknownKey",
    "WaitsFor",
    "current_call",
    "error",
    "open_node",
    "register_type",
    "rpc",
    "run",
    "serve_node",
    "service",
]
