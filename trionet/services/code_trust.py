"""Code by value at one node: what it sends, and what it reads.

Invariant: nothing is unpickled unless the node trusts code (`NodeConfig.trust_code`) *and* a holder of its cluster's
key, or a node of its run if it has no key, has stamped it; see `trionet.security.code_stamps`. How it came does not
matter.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from trionet.current_call import current_call
from trionet.errors import CodeRefused
from trionet.import_paths import reference_to
from trionet.launchers.run_secret import run_secret
from trionet.log_limits import about, limited_log
from trionet.pickling import pickled, unpickled
from trionet.security.code_stamps import CodeKey, SentCode
from trionet.security.nonces import NONCE_RANDOM_BYTES, NonceStore
from trionet.user_code import shown

if TYPE_CHECKING:
    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress
    from trionet.security.keys import DerivedKeys
    from trionet.security.live_keys import LiveKeys
    from trionet.security.node_keys import NodeKeys
    from trionet.transports.clock import Clock

__all__ = ["CodeTrust"]

_log = limited_log(__name__)

_CONDITIONS: Final = (
    "code is read where the node has trust_code=True and the sender holds the key of its cluster, or, without keys, is "
    "of the same run (spawned by one process). Here {which}. Or give an import path, 'package.module:name'"
)
_BY_RUMOR: Final = (
    "with a policy, code does not travel by rumor, because a rumor proves the last node on its way and not the first: "
    "send a service with routes.put"
)


class CodeTrust:
    """Stamps and reads the code of one node.

    Attributes:
        refused: how much code it has refused.
    """

    def __init__(self, own: NodeAddress, config: NodeConfig, keys: LiveKeys, clock: Clock) -> None:
        """Stamp with the keys that hold at the time, or with the secret of the run as long as there are none.

        Args:
            own: the node's address.
            config: its settings.
            keys: its keys.
            clock: gives the time.
        """
        self.refused: int = 0
        self._own = own
        self._is_trusting = config.trust_code
        self._has_policy = config.policy is not None
        self._clock = clock
        self._nonces = NonceStore(self._now_us() - 1)
        self._sealing = CodeKey(run_secret().material, config.cluster)
        self._opening = {self._sealing.key_id: self._sealing}
        keys.watch(self._keys_changed)

    def _keys_changed(self, keys: NodeKeys) -> None:
        self._opening = {key_id: _code_key(derived) for key_id, derived in keys.opening.items()}
        self._sealing = self._opening[keys.sealing.key_id]

    def _now_us(self) -> int:
        return self._clock.wall_ms() * 1000

    def sent(self, value: Any, purpose: str) -> SentCode:
        """Return `value` as code that may travel.

        Args:
            value: a function, a class or an object.
            purpose: the method that it is for, ``"service/method"``.

        Raises:
            CodeRefused: it can't be pickled, or the package cloudpickle is missing.
        """
        now_us, random = self._now_us(), secrets.token_bytes(NONCE_RANDOM_BYTES)
        return self._sealing.stamp(pickled(value), shown(value), purpose, now_us, random)

    def portable(self, value: Any, purpose: str) -> Any:
        """Return the import path of a function or class, or the code of one without; any other value as it is.

        Raises:
            CodeRefused: it has no import path, and can't be sent as code.
        """
        return reference_to(value) or self.sent(value, purpose) if callable(value) else value

    def sent_by_rumor(self, value: Any, purpose: str) -> Any:
        """Return a function or class as code that may travel by rumor; any other value as it is.

        Raises:
            CodeRefused: the node has a policy, or `sent` fails.
        """
        if not callable(value):
            return value
        if self._has_policy:
            raise CodeRefused(f"{shown(value, 80)} can't be sent: {_BY_RUMOR}")
        return self.sent(value, purpose)

    def received(self, value: Any, purpose: str, *, origin: NodeAddress | None = None) -> Any:
        """Return what `value` is: code is read, any other value is returned as it is.

        Args:
            value: an argument.
            purpose: the method that it is for, as for `sent`.
            origin: the node that has started the rumor, if it came by one.

        Raises:
            CodeRefused: it may not be read, or can't be.
        """
        if type(value) is not SentCode:
            return value
        reason = _BY_RUMOR if origin is not None and self._has_policy else self._refusal(value, purpose)
        if reason is not None:
            self.refused += 1
            sender = _sender() if origin is None else f"the node {origin}, by rumor"
            text = "node %s refuses code for %s of %s: %s"
            _log.warning(text, self._own, purpose, sender, reason, extra=about(sender, node=self._own))
            raise CodeRefused(f"{self._own} refuses {value!r}: {reason}")
        return unpickled(value.pickle, value.what)

    def _refusal(self, code: SentCode, purpose: str) -> str | None:
        """Return why code is refused; None if it isn't."""
        key = self._opening.get(code.key_id) if code.is_well_formed() else None
        is_stamped = key is not None and key.has_stamped(code, purpose)
        if not (is_stamped and self._is_trusting):
            which = []
            if not self._is_trusting:
                which.append("trust_code is False")
            if not is_stamped:
                which.append("the sender has not proven that")
            return _CONDITIONS.format(which=", and ".join(which))
        refusal = self._nonces.refusal(code.nonce, self._now_us())
        return None if refusal is None else refusal.replace("request", "code")


def _sender() -> str:
    """Return who sends the code that is being read, as far as it is known."""
    try:
        call = current_call()
    except RuntimeError:
        return "this program"
    return str(call.principal) if call.caller is None else f"{call.principal}, at {call.caller}"


def _code_key(derived: DerivedKeys) -> CodeKey:
    return CodeKey(derived.code_key, derived.cluster, derived.key_id)
